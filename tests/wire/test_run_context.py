"""What nodes find in `runtime.context`: what the run says, as the graph's `context_schema` makes it."""

import json

import httpx
import pytest

from tests.server import running

GRAPHS = """
from dataclasses import dataclass
from typing import TypedDict

from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel


class State(TypedDict, total=False):
    seen: str


@dataclass
class Data:
    tone: str = "plain"


@dataclass
class Needed:
    tone: str


class Model(BaseModel):
    tone: str = "plain"


class NeededModel(BaseModel):
    tone: str


class Typed(TypedDict, total=False):
    tone: str


def node(state: State, runtime: Runtime) -> State:
    return {"seen": repr(runtime.context)}


def with_context(schema):
    return StateGraph(State, context_schema=schema).add_node(node).add_edge(START, "node").compile()


without = StateGraph(State).add_node(node).add_edge(START, "node").compile()
data, needed, model, needed_model, typed = map(with_context, (Data, Needed, Model, NeededModel, Typed))


@entrypoint(context_schema=Data)
async def functional(given, *, runtime: Runtime):
    return {"seen": repr(runtime.context)}
"""
NAMES = ("without", "data", "needed", "model", "needed_model", "typed", "functional")


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    folder = tmp_path_factory.mktemp("context")
    (folder / "graphs.py").write_text(GRAPHS)
    config = {"dependencies": ["."], "graphs": {name: f"./graphs.py:{name}" for name in NAMES}}
    (folder / "langgraph.json").write_text(json.dumps(config))
    with (
        running(folder, tmp_path_factory.mktemp("data") / "data") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("graph", "nothing", "something"),
    [
        ("without", "None", "{'tone': 'warm'}"),
        ("typed", "None", "{'tone': 'warm'}"),
        ("data", "Data(tone='plain')", "Data(tone='warm')"),
        ("model", "Model(tone='plain')", "Model(tone='warm')"),
        ("functional", "Data(tone='plain')", "Data(tone='warm')"),
        ("needed", "TypeError", "Needed(tone='warm')"),
        ("needed_model", "ValidationError", "NeededModel(tone='warm')"),
    ],
)
def test_a_run_that_says_nothing_gets_the_defaults(http, graph, nothing, something):
    for said, expected in (({}, nothing), ({"context": {}}, nothing), ({"context": {"tone": "warm"}}, something)):
        output = http.post("/runs/wait", json={"assistant_id": graph, "input": {}, **said}).json()
        seen = output["seen"] if "seen" in output else output["__error__"]["error"]
        assert seen == expected
