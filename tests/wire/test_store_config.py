"""The block `store` of langgraph.json, as a server takes it."""

import json
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.server import free_port, running

GRAPH = """
from typing_extensions import TypedDict
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime

class State(TypedDict, total=False):
    found: list

async def look(state, runtime: Runtime):
    return {"found": [item.key for item in await runtime.store.asearch(("a",))]}

graph = StateGraph(State).add_node(look).add_edge(START, "look").compile()
"""

OWN_STORE = """
import contextlib, pathlib
from langgraph.store.memory import InMemoryStore

@contextlib.asynccontextmanager
async def made():
    store = InMemoryStore()
    await store.aput(("a",), "from the start", {"n": 1})
    yield store
    pathlib.Path("left").write_text(",".join(item.key for item in store.search(("a",))))
"""


@pytest.fixture
def app(tmp_path):
    """Makes an app with a block `store`; further files by name."""

    def make(store, **files):
        folder = tmp_path / "app"
        folder.mkdir()
        config = {"dependencies": ["."], "graphs": {"look": "./graph.py:graph"}, "store": store}
        (folder / "langgraph.json").write_text(json.dumps(config))
        for name, text in {"graph": GRAPH, **files}.items():
            (folder / f"{name}.py").write_text(text)
        return folder

    return make


def refused(folder: Path) -> str:
    """What `dev` says when it does not start."""
    command = [sys.executable, "-m", "threadloom", "dev", "--config", str(folder / "langgraph.json"), "--no-browser"]
    command += ["--port", str(free_port()), "--no-reload"]
    ended = forkserver.run(command, cwd=folder, timeout=60)
    assert ended.returncode == 2, ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "embed, told",
    [
        ("./missing.py:embed", "missing.py"),
        ("./embed.py:missing", "missing"),
        ("./embed.py:number", "neither a function from texts to vectors nor an Embeddings object"),
        ("mistralai:mistral-embed", "langchain-mistralai"),
        ("nobody:model", "nobody"),
    ],
)
def test_a_model_that_cannot_be_had_stops_the_start(app, embed, told):
    folder = app({"index": {"dims": 2, "embed": embed}}, embed="number = 5")
    said = refused(folder)
    assert "store.index.embed" in said
    assert told in said


def test_without_an_index_a_query_lists(app, tmp_path):
    with running(app({}), tmp_path / "data") as server, httpx.Client(base_url=server.url) as http:
        http.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {"text": "x"}, "index": ["text"]})
        [item] = http.post("/store/items/search", json={"namespace_prefix": [], "query": "y"}).json()["items"]
        assert (item["key"], item["score"]) == ("k", None)


def test_a_default_time_to_live_holds_for_null_too(app, tmp_path):
    folder = app({"ttl": {"default_ttl": 0.005, "refresh_on_read": False}})
    with running(folder, tmp_path / "data") as server, httpx.Client(base_url=server.url) as http:
        for key, more in (("absent", {}), ("null", {"ttl": None}), ("longer", {"ttl": 60})):
            http.put("/store/items", json={"namespace": ["a"], "key": key, "value": {}, **more})
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            items = http.post("/store/items/search", json={"namespace_prefix": ["a"]}).json()["items"]
            if len(items) == 1:
                break
        assert [item["key"] for item in items] == ["longer"]


def test_an_own_store_replaces_ours_and_is_left_at_the_end(app, tmp_path):
    folder = app({"path": "./own_store.py:made"}, own_store=OWN_STORE)
    with running(folder, tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=30) as http:
        answer = http.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {"n": 2**70}})
        assert answer.status_code == 204
        assert str(2**70) in http.get("/store/items", params={"namespace": "a", "key": "k"}).text
        found = http.post("/runs/wait", json={"assistant_id": "look", "input": {}}).json()["found"]
        assert set(found) == {"from the start", "k"}
        answer = http.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {}, "ttl": 1})
        assert (answer.status_code, "TTL is not supported" in answer.json()["detail"]) == (422, True)
        answer = http.post("/store/items/search", json={"filter": {"m": {"$in": [1]}}})
        assert (answer.status_code, answer.json()) == (400, {"detail": "Unsupported operator: $in"})
        server.stop()
    assert (folder / "left").read_text() == "from the start,k"


def test_an_own_store_that_is_none_stops_the_start(app):
    assert "store.path" in refused(app({"path": "./own_store.py:missing"}, own_store=OWN_STORE))
