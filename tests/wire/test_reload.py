"""A run ends on the code that it began with, whatever is edited meanwhile, and code that does not load leaves the old serving.

Files are edited as a developer edits them, while a real server serves them.
"""

import asyncio
import json
import os
import threading
import time
from pathlib import Path

import httpx
import jsonschema
import pytest

from tests.server import running

pytestmark = pytest.mark.anyio

GRAPH = """
import asyncio, os, time
from pathlib import Path
from typing import TypedDict
from langgraph.graph import START, StateGraph
from sibling import NAME
from package.deep import DEPTH

class State(TypedDict, total=False):
    wait: str
    seen: list

async def first(state):
    if state.get("wait"):
        while not Path(state["wait"]).exists():
            await asyncio.sleep(0.02)
    return {"seen": ["VERSION", NAME, DEPTH, os.environ.get("GREETING")]}

async def second(state):
    return {"seen": [*state["seen"], "VERSION"]}

graph = StateGraph(State).add_node(first).add_node(second).add_edge(START, "first").add_edge("first", "second").compile()
"""

ROUTES = """
import contextlib
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from langgraph_sdk import get_client
from sibling import NAME

HERE = Path(__file__).parent

def note(text):
    with (HERE / "lives.txt").open("a") as file:
        file.write(text + "\\n")

@contextlib.asynccontextmanager
async def lifespan(app):
    found = await get_client().assistants.search(graph_id="EXPECTED")
    note(f"VERSION begins with {len(found)}")
    yield
    note("VERSION ends")

async def version(request):
    return PlainTextResponse(f"VERSION {NAME}")

app = Starlette(routes=[Route("/version", version)], lifespan=lifespan)
"""


AT_FIRST = ["old", "one", 1, "hello", "old"]
"""What a run of the app as it is at first has seen: its version, siblings and environment."""


class App:
    """An app's folder, and the server that watches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http = httpx.Client(timeout=30)
        self.server = None
        self.config = {
            "dependencies": ["."],
            "graphs": {"agent": "./agent.py:graph"},
            "http": {"app": "./routes.py:app"},
            "env": ".env",
        }
        self.at_first = {
            "langgraph.json": json.dumps(self.config),
            "agent.py": GRAPH.replace("VERSION", "old"),
            "routes.py": ROUTES.replace("VERSION", "old").replace("EXPECTED", "agent"),
            "sibling.py": "NAME = 'one'",
            "package/__init__.py": "",
            "package/deep.py": "DEPTH = 1",
            ".env": "GREETING=hello",
        }
        for name, text in self.at_first.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Replaces a file in one step, as editors do."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(file.name + "~")
        beside.write_text(text)
        beside.replace(file)

    def configure(self, **more: object) -> None:
        self.write("langgraph.json", json.dumps({**self.config, **more}))

    # --- the server ---

    def info(self) -> dict:
        return self.http.get(f"{self.server.url}/info").json()["reload"]

    def edited(self, name: str, text: str) -> dict:
        """Writes a file and waits until the server has taken it up or refused it."""
        return self.after(lambda: self.write(name, text))

    def after(self, edit) -> dict:
        before = self.info()
        edit()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if (now := self.info()) != before:
                return now
            time.sleep(0.03)
        raise AssertionError(f"nothing was reloaded:\n{self.server.log()[-4000:]}")

    def run(self, graph: str = "agent", **input_: object) -> object:
        answer = self.http.post(f"{self.server.url}/runs/wait", json={"assistant_id": graph, "input": input_})
        return answer.json().get("seen", answer.json())

    def text(self, path: str) -> str:
        return self.http.get(self.server.url + path).text

    def lives(self) -> list[str]:
        file = self.folder / "lives.txt"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    app = App(tmp_path_factory.mktemp("reload"))
    with running(app.folder, app.folder / ".threadloom", reload=True) as app.server:
        yield app


@pytest.fixture
def app(served):
    """The app as it was at first, whatever the test before left."""
    yield served
    for name, text in served.at_first.items():
        if (served.folder / name).read_text() != text:
            served.edited(name, text)
    assert served.info()["error"] is None
    assert (served.text("/version"), served.run()) == ("old one", AT_FIRST)


def test_what_is_edited_serves_at_once(app):
    assert app.run() == AT_FIRST
    began = app.info()["generation"]
    told = app.edited("agent.py", GRAPH.replace("VERSION", "new"))
    assert told["generation"] == began + 1 and told["error"] is None
    assert app.run() == ["new", "one", 1, "hello", "new"]
    assert "agent.py changed: loaded anew in" in app.server.log()


def test_a_run_under_way_ends_on_the_code_it_began_with(app, tmp_path):
    sent = []

    def follow() -> None:
        request = {"assistant_id": "agent", "input": {"wait": str(tmp_path / "go")}, "stream_mode": "updates"}
        with app.http.stream("POST", f"{app.server.url}/runs/stream", json=request) as answer:
            sent.extend(json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))

    following = threading.Thread(target=follow)
    following.start()
    while app.http.get(f"{app.server.url}/metrics?format=json").json()["queue"]["n_running"] == 0:
        time.sleep(0.02)
    app.edited("agent.py", GRAPH.replace("VERSION", "new"))
    assert app.run()[0] == "new"
    (tmp_path / "go").write_text("")
    following.join(20)
    assert sent[1:3] == [
        {"first": {"seen": ["old", "one", 1, "hello"]}},
        {"second": {"seen": ["old", "one", 1, "hello", "old"]}},
    ]


def test_broken_code_leaves_the_old_serving_and_is_told_until_it_is_mended(app):
    told = app.edited("agent.py", GRAPH.replace("VERSION", "new") + "\nraise ValueError('half typed')")
    assert "ValueError: half typed" in told["error"]
    assert "graph 'agent'" in told["error"]
    assert app.run() == AT_FIRST
    assert app.text("/version") == "old one"
    told = app.edited("agent.py", "def graph(:")
    assert "SyntaxError" in told["error"]
    assert app.run()[0] == "old"
    told = app.edited("agent.py", GRAPH.replace("VERSION", "mended"))
    assert told["error"] is None
    assert app.run() == ["mended", "one", 1, "hello", "mended"]
    assert "agent.py changed, but cannot be served; what was loaded before goes on serving" in app.server.log()


def test_modules_that_are_imported_by_name_count(app):
    app.edited("sibling.py", "NAME = 'two'")
    assert app.run() == ["old", "two", 1, "hello", "old"]
    assert app.text("/version") == "old two"
    app.edited("package/deep.py", "DEPTH = 2")
    assert app.run()[2] == 2
    app.edited("package/deep.py", "DEPTH = 3")  # of the same length, within the same second
    assert app.run()[2] == 3


def test_a_sibling_that_breaks_leaves_all_as_it_was(app):
    told = app.edited("sibling.py", "OTHER = 'two'")
    assert "cannot import name 'NAME'" in told["error"]
    assert app.run() == AT_FIRST
    assert app.edited("sibling.py", "NAME = 'three'")["error"] is None
    assert app.run()[1] == "three"


def test_graphs_come_and_go_with_the_configuration(app):
    search = f"{app.server.url}/assistants/search"
    app.write("extra.py", GRAPH.replace("VERSION", "extra"))
    graphs = {"agent": "./agent.py:graph", "extra": {"path": "./extra.py:graph", "description": "One more"}}
    assert app.after(lambda: app.configure(graphs=graphs))["error"] is None
    assert app.run("extra")[0] == "extra"
    (found,) = app.http.post(search, json={"graph_id": "extra"}).json()
    assert found["description"] == "One more"
    assert app.http.get(f"{app.server.url}/assistants/extra/schemas").json()["graph_id"] == "extra"
    app.after(app.configure)
    assert app.http.post(search, json={"graph_id": "extra"}).status_code == 404
    refused = app.http.post(f"{app.server.url}/runs/wait", json={"assistant_id": "extra", "input": {}})
    unknown = app.http.post(f"{app.server.url}/runs/wait", json={"assistant_id": "nothing", "input": {}})
    assert (refused.status_code, refused.json()["detail"].replace("extra", "nothing")) == (
        unknown.status_code,
        unknown.json()["detail"],
    )


def test_a_broken_configuration_leaves_the_old_serving(app):
    told = app.edited("langgraph.json", '{"graphs": {')
    assert "not valid JSON" in told["error"]
    assert app.run()[0] == "old"
    told = app.after(lambda: app.configure(graphs={"agent": "./agent.py:graph", "more": "./more.py:graph"}))
    assert "there is no file" in told["error"]
    # The file that was missing comes after the configuration that names it.
    assert app.edited("more.py", GRAPH.replace("VERSION", "more"))["error"] is None
    assert app.run("more")[0] == "more"


def test_the_env_file_counts_and_what_is_taken_out_of_it_is_gone(app):
    assert app.edited(".env", "GREETING=goodbye")["error"] is None
    assert app.run()[3] == "goodbye"
    app.edited(".env", "")
    assert app.run()[3] is None


def test_a_key_that_counts_only_at_start_is_said_aloud(app):
    app.after(lambda: app.configure(store={"ttl": {"default_ttl": 5}}, threadloom={"synchronous": "full"}))
    assert "threadloom.synchronous, store changed, which counts only after a RESTART" in app.server.log()


def test_settings_of_requests_count_at_once(app):
    app.configure(http={"app": "./routes.py:app", "disable_store": True, "mount_prefix": "/api"})
    deadline = time.monotonic() + 120
    while app.text("/api/version") != "old one":
        assert time.monotonic() < deadline
        time.sleep(0.03)
    assert app.http.post(f"{app.server.url}/api/store/items/search", json={}).status_code == 404
    assert app.text("/version") != "old one"
    app.configure()
    while app.text("/version") != "old one":
        assert time.monotonic() < deadline
        time.sleep(0.03)


def test_the_own_app_changes_with_its_lifespan(app):
    (app.folder / "lives.txt").unlink(missing_ok=True)
    graphs = {"agent": "./agent.py:graph", "later": "./agent.py:graph"}
    app.after(lambda: app.configure(graphs=graphs))
    told = app.edited("routes.py", ROUTES.replace("VERSION", "new").replace("EXPECTED", "later"))
    assert told["error"] is None
    assert app.text("/version") == "new one"
    deadline = time.monotonic() + 120
    while len(app.lives()) < 4:
        assert time.monotonic() < deadline, app.lives()
        time.sleep(0.05)
    # Its lifespan sees the app that it belongs to; the one before ends when nothing needs it any more.
    assert app.lives() == ["old begins with 1", "old ends", "new begins with 1", "old ends"]


def test_an_own_app_that_does_not_start_leaves_the_old_serving(app):
    code = (
        ROUTES.replace("VERSION", "new")
        .replace("EXPECTED", "agent")
        .replace("    yield", "    raise RuntimeError('no start')\n    yield")
    )
    told = app.edited("routes.py", code)
    assert "no start" in told["error"]
    assert app.text("/version") == "old one"
    assert app.run()[0] == "old"


def test_what_is_no_code_of_the_app_triggers_nothing(app):
    before = app.info()
    for name in (
        ".threadloom/agent.py",
        ".git/hook.py",
        "node_modules/a/setup.py",
        "__pycache__/b.py",
        ".venv/lib/x.py",
        "env/pyvenv.cfg",
        "env/site.py",
        "notes/unused.py",
        "README.md",
        "data.json",
    ):
        app.write(name, f"# {time.time_ns()}")
    os.utime(app.folder / "agent.py")  # touched, not changed
    app.run()
    app.write("agent.py", GRAPH.replace("VERSION", "last"))
    while app.run()[0] != "last":
        time.sleep(0.03)
    assert app.info()["generation"] == before["generation"] + 1


def test_code_that_hangs_is_named_and_broken_off_when_it_is_mended(app):
    app.write("agent.py", GRAPH.replace("VERSION", "new") + "\nwhile True:\n    time.sleep(0.01)  # for ever")
    deadline = time.monotonic() + 30
    while "still importing graph 'agent' from ./agent.py after 5 s" not in app.server.log():
        assert time.monotonic() < deadline
        assert app.run()[0] == "old"
        time.sleep(0.1)
    assert "time.sleep(0.01)  # for ever" in app.server.log()
    app.write("agent.py", GRAPH.replace("VERSION", "mended"))
    while app.run()[0] != "mended":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "it is broken off, since there are newer changes" in app.server.log()


async def test_no_request_fails_while_code_changes(app):
    failed = []
    done = asyncio.Event()

    async def ask(client: httpx.AsyncClient) -> None:
        while not done.is_set():
            answer = await client.post("/runs/wait", json={"assistant_id": "agent", "input": {}})
            if answer.status_code != 200 or "seen" not in answer.json():
                failed.append(answer.text)

    async with httpx.AsyncClient(base_url=app.server.url, timeout=30) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(4)]
        for number in range(3):
            code = GRAPH.replace("VERSION", f"edit {number}")
            await asyncio.to_thread(app.edited, "agent.py", code)
        done.set()
        await asyncio.gather(*asking)
    assert failed == []


AUTH = """
from langgraph_sdk import Auth
auth = Auth()

@auth.authenticate
async def who(authorization: str | None):
    if authorization != "Bearer KEY":
        raise Auth.exceptions.HTTPException(401, "not you")
    return "somebody"
"""


def test_code_of_auth_counts_at_once(tmp_path):
    app = App(tmp_path)
    app.config = {**app.config, "auth": {"path": "./doors/auth.py:auth"}}
    app.configure()
    app.write("doors/auth.py", AUTH.replace("KEY", "old"))

    def enters(key: str) -> bool:
        headers = {"authorization": f"Bearer {key}"}
        return app.http.post(f"{app.server.url}/threads/count", json={}, headers=headers).status_code == 200

    with running(app.folder, app.folder / ".threadloom", reload=True) as app.server:
        assert (enters("old"), enters("new")) == (True, False)
        assert app.edited("doors/auth.py", AUTH.replace("KEY", "new"))["error"] is None
        assert (enters("old"), enters("new")) == (False, True)
        assert "SyntaxError" in app.edited("doors/auth.py", "auth = (")["error"]
        assert (enters("old"), enters("new")) == (False, True)


def test_code_that_the_store_uses_is_said_to_need_a_restart(tmp_path):
    app = App(tmp_path)
    app.config = {**app.config, "store": {"index": {"dims": 1, "embed": "./embed.py:embed"}}}
    app.configure()
    app.write("embed.py", "def embed(texts): return [[1.0] for _ in texts]")
    with running(app.folder, app.folder / ".threadloom", reload=True) as app.server:
        app.edited("embed.py", "def embed(texts): return [[2.0] for _ in texts]")
        assert "embed.py: store and encryption use it as it was when the server started" in app.server.log()
        app.edited("agent.py", GRAPH.replace("VERSION", "new"))
        assert app.server.log().count("RESTART") == 1


def described_info(app: App) -> dict:
    """What `/info` answers, held to what the server says of it."""
    document = app.http.get(f"{app.server.url}/openapi.json").json()
    told = app.http.get(f"{app.server.url}/info").json()
    jsonschema.validate(told, document["components"]["schemas"]["Info"])
    return told


def test_what_info_tells_of_reloading_is_as_described(app):
    assert described_info(app)["reload"]["error"] is None


def test_without_reload_nothing_is_watched(tmp_path):
    app = App(tmp_path)
    with running(app.folder, app.folder / ".threadloom") as app.server:
        assert "reload" not in described_info(app)
        app.write("agent.py", GRAPH.replace("VERSION", "new"))
        app.run()
        time.sleep(0.5)
        assert app.run()[0] == "old"
