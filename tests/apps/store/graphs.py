"""Graphs that use the long-term store in each way there is."""

from typing import Any

from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import GetOp, PutOp
from langgraph_sdk.runtime import ServerRuntime
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    space: str
    found: Any


def _graph(node):
    return StateGraph(State).add_node("node", node).add_edge(START, "node").compile()


async def _remember(state: State, runtime: Runtime) -> dict:
    space = ("memory", state["space"])
    await runtime.store.aput(space, "from-a-node", {"text": "aab", "big": 2**80})
    item = await get_store().aget(space, "from-a-node")
    found = await runtime.store.asearch(space, query="aab")
    return {"found": {"value": item.value["text"], "keys": [one.key for one in found], "score": found[0].score}}


def _remember_sync(state: State, runtime: Runtime) -> dict:
    space = ("memory", state["space"])
    runtime.store.put(space, "from-a-thread", {"text": "bbc"})
    item = get_store().get(space, "from-a-thread")
    found = runtime.store.search(space, query="bbc")
    return {"found": {"value": item.value["text"], "keys": [one.key for one in found], "score": found[0].score}}


async def _everything(state: State, runtime: Runtime) -> dict:
    store, space = runtime.store, ("memory", state["space"])
    results = await store.abatch([PutOp(space, "a", {"n": 1}), PutOp((*space, "b"), "b", {"n": 2}), GetOp(space, "a")])
    listed = await store.alist_namespaces(prefix=("memory", "*"), suffix=(state["space"], "b"))
    filtered = await store.asearch(space, filter={"n": {"$gt": 1}})
    await store.adelete(space, "a")
    return {
        "found": {
            "batch": results,
            "namespaces": listed,
            "filtered": [item.key for item in filtered],
            "left": [item.key for item in await store.asearch(space)],
        }
    }


async def made(runtime: ServerRuntime):
    """A factory that reads the store before it makes a graph."""
    seen = [item.key for item in await runtime.store.asearch(("factory",))]

    async def tell(state: State) -> dict:
        return {"found": seen}

    return _graph(tell)


remember = _graph(_remember)
remember_sync = _graph(_remember_sync)
everything = _graph(_everything)
