"""What `priority.path` may name, and what its function may answer."""

import importlib.metadata
import json

import pytest

from threadloom.config import load
from threadloom.errors import ApiError, ConfigError
from threadloom.graphs import priority
from threadloom.graphs.priority import load_assign, priority_of

pytestmark = pytest.mark.anyio

CODE = """
from langgraph_sdk import Priority

registered = Priority()

@registered.assign
async def assign(ctx):
    return {"priority": 2}

def plain(ctx):
    return len(ctx.thread_metadata)

def broken(ctx):
    raise TypeError("secret")

class Callable:
    async def __call__(self, ctx):
        return {"priority": -1, "fairness_group": None}

instance = Callable()
empty = Priority()
number = 5
"""

CONTEXT = {
    "user": None,
    "permissions": [],
    "thread_id": None,
    "thread_metadata": {"a": 1},
    "assistant_id": "a",
    "graph_id": "g",
    "assistant_metadata": {},
    "run_metadata": {},
    "cron_id": None,
}


@pytest.fixture
def loaded(tmp_path):
    def load_it(name):
        (tmp_path / "urgency.py").write_text(CODE)
        config = {"dependencies": [], "graphs": {"g": "./g.py:g"}, "priority": {"path": f"./urgency.py:{name}"}}
        (tmp_path / "langgraph.json").write_text(json.dumps(config))
        return load_assign(load(tmp_path / "langgraph.json", {}))

    return load_it


@pytest.mark.parametrize(("name", "answer"), [("registered", 2), ("plain", 1), ("instance", -1)])
async def test_an_object_with_a_function_or_a_function_sync_or_async(loaded, name, answer):
    assert await loaded(name)(**CONTEXT) == answer


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("empty", "urgency.py:empty has no function: register one with @….assign"),
        ("number", "urgency.py:number must be a langgraph_sdk.Priority object or a function, got int"),
        ("Callable", "urgency.py:Callable must be a langgraph_sdk.Priority object or a function, got Callable"),
        ("nothing", "Failed to load ./urgency.py:nothing: there is no 'nothing'"),
    ],
)
def test_anything_else_is_refused_at_start(loaded, name, why):
    with pytest.raises(ConfigError, match=r"priority\.path") as refusal:
        loaded(name)
    assert why in str(refusal.value)


def test_with_an_sdk_where_the_numbers_mean_the_opposite_it_does_not_start(loaded, monkeypatch):
    monkeypatch.setattr(priority, "version", lambda name: "0.4.11")
    with pytest.raises(ConfigError, match=r"needs langgraph-sdk 0\.4\.12 or newer, and 0\.4\.11 is installed"):
        loaded("registered")
    for newer in ("0.4.12", "0.5.0", "0.10.1rc1", importlib.metadata.version("langgraph-sdk")):
        monkeypatch.setattr(priority, "version", lambda name, newer=newer: newer)
        assert loaded("registered") is not None


async def test_what_goes_wrong_names_the_function(loaded):
    with pytest.raises(ApiError, match=r"The priority function \./urgency\.py:plain gave the priority 6") as told:
        await loaded("plain")(**CONTEXT | {"thread_metadata": dict.fromkeys(range(6))})
    assert told.value.status == 500
    with pytest.raises(ApiError, match=r"The priority function \./urgency\.py:broken failed: TypeError$"):
        await loaded("broken")(**CONTEXT)


@pytest.mark.parametrize(
    ("answer", "number"),
    [(None, 0), ({}, 0), ({"priority": None}, 0), ({"priority": -5}, -5), (5, 5), ({"fairness_group": ""}, 0)],
)
def test_answers(answer, number):
    assert priority_of(answer) == number
