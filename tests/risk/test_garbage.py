"""The collection of garbage holds nobody up: what was loaded is not gone through while the server serves, nor after a reload."""

import json
from pathlib import Path

import httpx

from tests.risk.cluster_tools import until
from tests.server import running

CODE = """
import gc
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    version: int

graph = StateGraph(State).add_node("node", lambda state: {"version": VERSION}).add_edge(START, "node").compile()

async def objects(request):
    return JSONResponse({"version": VERSION, "apart": gc.get_freeze_count(), "watched": len(gc.get_objects())})

app = Starlette(routes=[Route("/objects", objects)])
"""


def test_what_was_loaded_is_taken_out(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    code = app / "code.py"
    code.write_text(CODE.replace("VERSION", "1"))
    config = {"graphs": {"agent": "./code.py:graph"}, "dependencies": ["."], "http": {"app": "./code.py:app"}}
    (app / "langgraph.json").write_text(json.dumps(config))
    with (
        running(app, tmp_path / "data", reload=True) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        at_first = client.get("/objects").json()
        assert at_first["version"] == 1
        assert at_first["apart"] > 10 * at_first["watched"]

        code.write_text(CODE.replace("VERSION", "2"))
        until(lambda: client.get("/objects").json()["version"] == 2, "the changed code serves")
        afterwards = client.get("/objects").json()
        assert afterwards["apart"] > 10 * afterwards["watched"]
