"""How the server serves Studio: to whom, from which address, with which headers, and when not."""

import contextlib
import gzip
import json
import re
import textwrap

import httpx
import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.browser.studio_page import ROOT, build
from threadloom.api.studio import DIST
from threadloom.config import load
from threadloom.wiring import Server

FIRST_LOAD_BYTES = 200_000
WHOLE_BYTES = 500_000
HTML = {"accept": "text/html,application/xhtml+xml"}

APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from langgraph.graph import StateGraph
from langgraph_sdk import Auth

auth = Auth()

@auth.authenticate
async def authenticate(authorization):
    if authorization != "Bearer ann":
        raise Auth.exceptions.HTTPException(status_code=401, detail="who are you?")
    return "ann"

graph = StateGraph(dict).add_node("a", lambda state: state).set_entry_point("a").compile()
app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("my page"))])
"""


@pytest.fixture(scope="module", autouse=True)
def built():
    build()


@contextlib.asynccontextmanager
async def client_of(folder, *, host="127.0.0.1", overrides=None, **blocks):
    """A client of a server whose configuration has these blocks."""
    (folder / "app.py").write_text(textwrap.dedent(APP))
    config = folder / "langgraph.json"
    config.write_text(json.dumps({"dependencies": ["."], "graphs": {"a": "./app.py:graph"}, **blocks}))
    settings = load(config, {"LANGGRAPH_SERVER_HOST": host}, {"data": folder / "data", **(overrides or {})})
    server = Server(settings, grace=0)
    async with server.live():
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client


@pytest.mark.anyio
async def test_browsers_are_sent_to_studio_and_clients_get_json(tmp_path):
    async with client_of(tmp_path) as client:
        moved = await client.get("/", headers=HTML)
        assert (moved.status_code, moved.headers["location"]) == (307, "studio/")
        assert "Accept" in moved.headers.get_list("vary", split_commas=True)
        for accept in ("*/*", "application/json"):
            assert (await client.get("/", headers={"accept": accept})).json()["ok"] is True
        assert (await client.get("/studio")).headers["location"] == "studio/"
        page = await client.get("/", headers=HTML, follow_redirects=True)
        assert (page.status_code, page.url.path) == (200, "/studio/")


@pytest.mark.anyio
async def test_files_are_compressed_cached_and_may_run_nothing_else(tmp_path):
    async with client_of(tmp_path) as client:
        page = await client.get("/studio/", headers={"accept-encoding": "identity"})
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert "style=" not in page.text
        scripts = re.findall(r"<script\b([^>]*)>([^<]*)", page.text)
        assert scripts and all("src=" in attributes and not text.strip() for attributes, text in scripts)
        again = await client.get("/studio/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

        assets = re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page.text)
        assert {name.rpartition(".")[2] for name in assets} == {"js", "css"}
        loaded = len(gzip.compress(page.content, 9))
        for name in assets:
            asset = await client.get(f"/studio/{name}", headers={"accept-encoding": "gzip"})
            assert asset.headers["content-encoding"] == "gzip"
            assert "immutable" in asset.headers["cache-control"]
            assert asset.content == (DIST / name).read_bytes()
            loaded += int(asset.headers["content-length"])
        assert loaded <= FIRST_LOAD_BYTES, f"the first load is {loaded} bytes"
        for name in ("assets/none.js", "../__init__.py", "%2e%2e/%2e%2e/__init__.py", "index.html.gz"):
            assert (await client.get(f"/studio/{name}")).status_code == 404


def test_the_build_names_no_other_server():
    named = set()
    for file in DIST.rglob("*"):
        if file.suffix in (".js", ".css", ".html", ".svg"):
            named |= set(re.findall(r"https?://[\w.-]+", file.read_text()))
    # Names that nothing is fetched from: an XML namespace, links in error texts, the SDK's default address.
    passed_over = {"http://www.w3.org", "https://react.dev", "http://localhost", "https://langchain-ai.github.io"}
    assert named - passed_over == set()


def test_packages_carry_the_build():
    builders = [WheelBuilder(str(ROOT)), SdistBuilder(str(ROOT))]
    for builder in builders:
        carried = {file.distribution_path for file in builder.recurse_included_files()}
        built = {path.relative_to(DIST).as_posix() for path in DIST.rglob("*") if path.is_file()}
        inside = {path.partition("threadloom/studio/dist/")[2] for path in carried if "threadloom/studio/dist/" in path}
        assert inside == built
        assert not [path for path in carried if path.startswith("studio/node_modules/")]
    assert sum(path.stat().st_size for path in DIST.rglob("*.gz")) <= WHOLE_BYTES


@pytest.mark.anyio
async def test_below_a_mount_prefix_studio_is_there_too(tmp_path):
    async with client_of(tmp_path, http={"mount_prefix": "/agents/v1"}) as client:
        for path in ("/", "/agents/v1", "/agents/v1/"):
            page = await client.get(path, headers=HTML, follow_redirects=True)
            assert (page.status_code, page.url.path) == (200, "/agents/v1/studio/"), path
        assert (await client.get("/studio/")).status_code == 404


@pytest.mark.anyio
async def test_a_page_of_the_apps_own_wins(tmp_path):
    async with client_of(tmp_path, http={"app": "./app.py:app"}) as client:
        assert (await client.get("/", headers=HTML)).text == "my page"
        assert (await client.get("/studio/")).status_code == 200


@pytest.mark.anyio
async def test_with_auth_the_files_are_public_and_the_data_are_not(tmp_path):
    async with client_of(tmp_path, auth={"path": "./app.py:auth"}) as client:
        assert (await client.get("/", headers=HTML, follow_redirects=True)).status_code == 200
        asset = next(path for path in DIST.glob("assets/*.js"))
        assert (await client.get(f"/studio/assets/{asset.name}")).status_code == 200
        assert (await client.post("/threads/search", json={})).status_code == 401
        allowed = await client.post("/threads/search", json={}, headers={"authorization": "Bearer ann"})
        assert allowed.status_code == 200


@pytest.mark.parametrize(
    ("host", "overrides", "blocks", "served"),
    [
        ("0.0.0.0", {}, {}, True),
        ("127.0.0.1", {}, {"auth": {"path": "./app.py:auth"}}, True),
        ("0.0.0.0", {}, {"auth": {"path": "./app.py:auth"}}, False),
        ("0.0.0.0", {}, {"auth": {"path": "./app.py:auth"}, "threadloom": {"studio": True}}, True),
        ("127.0.0.1", {}, {"threadloom": {"studio": False}}, False),
        ("127.0.0.1", {"studio": False}, {"threadloom": {"studio": True}}, False),
        ("127.0.0.1", {}, {"http": {"disable_meta": True}}, False),
    ],
)
def test_whether_it_is_served(tmp_path, host, overrides, blocks, served):
    config = tmp_path / "langgraph.json"
    config.write_text(json.dumps({"dependencies": ["."], "graphs": {"a": "./app.py:graph"}, **blocks}))
    assert load(config, {"LANGGRAPH_SERVER_HOST": host}, overrides).serves_studio is served


@pytest.mark.anyio
async def test_where_it_is_not_served_nothing_points_to_it(tmp_path):
    async with client_of(tmp_path, threadloom={"studio": False}) as client:
        assert (await client.get("/", headers=HTML)).json()["ok"] is True
        assert (await client.get("/studio/")).status_code == 404


@pytest.mark.anyio
async def test_without_a_build_the_page_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setattr("threadloom.api.studio.DIST", tmp_path / "nothing")
    async with client_of(tmp_path) as client:
        page = await client.get("/studio/")
        assert (page.status_code, "make studio" in page.text) == (503, True)
