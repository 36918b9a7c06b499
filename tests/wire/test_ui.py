"""Interface components: bundled by the app's own esbuild or served from a folder, loaded by the stock package in a page."""

import json
import os
import shutil
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.server import Server, running
from tests.wire.javascript import run_script
from threadloom.ids import default_assistant_id

APP = Path(__file__).parents[1] / "apps" / "ui"


@pytest.fixture
def app(tmp_path):
    """The app, without packages."""
    shutil.copytree(APP, tmp_path / "app")
    return tmp_path / "app"


@pytest.fixture(scope="module")
def built(tmp_path_factory, js_packages):
    """The app beside packages."""
    folder = tmp_path_factory.mktemp("ui") / "app"
    shutil.copytree(APP, folder)
    (folder / "node_modules").symlink_to(js_packages / "node_modules")
    return folder


@pytest.fixture(scope="module")
def url(built, tmp_path_factory):
    with running(built, tmp_path_factory.mktemp("ui_data") / "data") as server:
        yield server.url


@pytest.fixture
def http(url):
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


def without_esbuild():
    """An environment in which no esbuild is found."""
    folders = [one for one in os.environ["PATH"].split(os.pathsep) if not (Path(one) / "esbuild").exists()]
    return {"PATH": os.pathsep.join(folders)}


class Tags(HTMLParser):
    """The tags of an answer, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_the_stock_package_shows_components_in_a_page(js_folder, url):
    assert run_script("ui.js", js_folder, url) == []


def test_a_page_is_told_what_to_load(http, url):
    answer = http.post("/ui/my-agent", json={"name": "weather"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    host = url.removeprefix("http:")
    assert Tags(answer.text).tags == [
        ("link", {"rel": "stylesheet", "href": f"{host}/ui/my-agent/entrypoint.css"}),
        (
            "script",
            {
                "src": f"{host}/ui/my-agent/entrypoint.js",
                "onload": '__LGUI_my_agent.render("weather", "{{shadowRootId}}")',
            },
        ),
    ]
    assert http.post(f"/ui/{default_assistant_id('my-agent')}", json={"name": "weather"}).text == answer.text


NAMES = ["'><img src=x onerror=alert(1)>", '"); alert(1); ("', "{{shadowRootId}}", "</script>", "\u2028&#x27;"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_a_name(http, name):
    text = http.post("/ui/ready", json={"name": name}).text
    [(tag, attributes)] = Tags(text).tags
    assert tag == "script"
    assert text.count("{{shadowRootId}}") == 1
    script = attributes["onload"].removeprefix("__LGUI_ready.render(").removesuffix(', "{{shadowRootId}}")')
    assert json.loads(script) == name


def test_files_have_their_types_and_are_sent_once(http):
    script = http.get("/ui/my-agent/entrypoint.js")
    assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert script.text.startswith("var __LGUI_my_agent = ")
    assert 'require("react")' in script.text
    styles = http.get("/ui/my-agent/entrypoint.css")
    assert styles.headers["content-type"] == "text/css; charset=utf-8"
    again = http.get("/ui/my-agent/entrypoint.js", headers={"if-none-match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("/ui/ready/fonts/plain.woff2").content == b"not really a font\n"


@pytest.mark.parametrize(
    "path",
    [
        "/ui/my-agent/other.js",
        "/ui/my-agent/..%2fready%2fentrypoint.js",
        "/ui/ready/../../langgraph.json",
        "/ui/x/entrypoint.js",
    ],
)
def test_what_is_no_file_of_a_bundle_is_not_found(http, path):
    assert http.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/ui/other", {"name": "x"}, 404, "UI not found for graph 'other'"),
        ("/ui/ready", {}, 422, "name"),
        ("/ui/ready", {"name": 1}, 422, "name"),
        ("/ui/ready", {"name": ""}, 422, "name"),
    ],
)
def test_bad_questions_are_refused(http, path, body, status, said):
    answer = http.post(path, json=body)
    assert answer.status_code == status
    assert said in answer.text


def test_a_graphs_interface_is_no_page(http):
    for path in ("/ui/ready", "/ui/other"):
        answer = http.get(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_without_esbuild_one_message_says_what_to_install_and_the_rest_is_served(app, tmp_path):
    with running(app, tmp_path / "data", env=without_esbuild()) as server:
        assert server.log().count("npm install --save-dev esbuild") == 1
        answer = httpx.post(server.url + "/ui/my-agent", json={"name": "weather"})
        assert answer.status_code == 404
        assert "npm install --save-dev esbuild" in answer.text
        assert httpx.get(server.url + "/ui/ready/entrypoint.js").status_code == 200


def command(*words, **how):
    words = [sys.executable, "-m", "threadloom", *map(str, words)]
    done = forkserver.run(words, timeout=120, **how)
    return done.returncode, done.stdout, done.stderr


def test_bundles_can_be_made_ahead_of_time(built, http, tmp_path, app):
    status, told, _ = command("ui", "build", "-c", built / "langgraph.json", "--output", tmp_path / "dist")
    assert (status, told.split()) == (0, [str(tmp_path / "dist" / "my-agent"), str(tmp_path / "dist" / "ready")])
    made = tmp_path / "dist" / "my-agent"
    assert sorted(file.name for file in made.iterdir()) == ["entrypoint.css", "entrypoint.js"]
    assert (made / "entrypoint.js").read_text() == http.get("/ui/my-agent/entrypoint.js").text
    status, _, told = command("ui", "build", "-c", app / "langgraph.json", env={**os.environ, **without_esbuild()})
    assert (status, "npm install --save-dev esbuild" in told) == (1, True)


@pytest.mark.parametrize(
    ("ui", "said"),
    [
        ({"my-agent": "./src/gone.tsx"}, "there is no file or folder"),
        ({"my-agent": "./src"}, "has no entrypoint.js"),
        ({"my-agent": "./broken.tsx"}, "broken.tsx:1:27"),
    ],
)
def test_a_bundle_that_cannot_be_made_is_a_fault_of_the_configuration(app, js_packages, ui, said):
    (app / "node_modules").symlink_to(js_packages / "node_modules")
    (app / "broken.tsx").write_text("export default { x: () => <p>{ };")
    config = json.loads((app / "langgraph.json").read_text()) | {"ui": ui}
    (app / "langgraph.json").write_text(json.dumps(config))
    status, _, told = command("validate", "--load", "-c", app / "langgraph.json")
    assert status == 2
    assert "ui.my-agent" in told
    assert said in told


def test_a_changed_component_is_bundled_anew(app, js_packages, tmp_path):
    (app / "node_modules").symlink_to(js_packages / "node_modules")
    server = Server(app, tmp_path / "data", reload=True).start()
    try:
        script = server.url + "/ui/my-agent/entrypoint.js"
        before = httpx.get(script)
        source = app / "src" / "ui.tsx"
        source.write_text(source.read_text().replace('"weather"', '"rain"'))
        deadline = time.monotonic() + 60
        while "rain" not in (now := httpx.get(script)).text:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert now.headers["etag"] != before.headers["etag"]
    finally:
        server.kill()
