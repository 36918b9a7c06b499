"""A graph that puts what it is told everywhere a graph can: state, writes, inner graph, store, events, questions, errors."""

import operator
from typing import Annotated, TypedDict

from langgraph.config import get_store, get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    said: Annotated[list[str], operator.add]
    ask: str
    fail: str


class Context(TypedDict, total=False):
    word: str


async def embed(texts: list[str]) -> list[list[float]]:
    return [[1.0, float(len(text))] for text in texts]


async def listen(state: State) -> State:
    last = state["said"][-1]
    get_stream_writer()({"heard": last})
    await get_store().aput(("notes", "heard"), "last", {"text": last})
    if state.get("fail"):
        raise ValueError(state["fail"])
    return {"said": [f"heard {last}"]}


def think(state: State) -> State:
    if not state.get("ask"):
        return {}
    return {"said": [f"answered {interrupt({'question': state['ask']})}"], "ask": ""}


def _inner():
    inner = StateGraph(State)
    inner.add_node("think", think)
    inner.add_edge(START, "think")
    return inner.compile(checkpointer=True)


def _agent():
    builder = StateGraph(State, context_schema=Context)
    builder.add_node("listen", listen)
    builder.add_node("inner", _inner())
    builder.add_edge(START, "listen")
    builder.add_edge("listen", "inner")
    builder.add_edge("inner", END)
    return builder.compile()


agent = _agent()
