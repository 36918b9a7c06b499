"""Graphs whose subgraphs keep their state between runs. Each node of a subgraph notes that it ran and with which word."""

import time
from operator import add
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    say: str
    path: Annotated[list, add]
    left: list
    right: list


def inner(name, *, keeps=True, asks=False, between=None):
    """a → b → c; or a → another graph → c. A word that begins with `?` makes b ask. Tells in channel `name` all it has seen."""
    seen = f"{name}_seen"

    class Inner(TypedDict, total=False):
        say: str
        deep: list

    Inner.__annotations__ |= {seen: Annotated[list, add], name: list}

    def a(state):
        if state["say"] == "slow":
            time.sleep(0.5)
        return {seen: [f"a {state['say']}"]}

    def b(state):
        if asks and state["say"].startswith("?"):
            return {seen: [f"b {state['say']} {interrupt(state['say'])}"]}
        return {seen: [f"b {state['say']}"]}

    def c(state):
        new = [f"c {state['say']}", *state.get("deep", [])]
        return {seen: new, name: [*state.get(seen, []), *new]}

    graph = StateGraph(Inner)
    graph.add_node("a", a)
    graph.add_node("b", between or b)
    graph.add_node("c", c)
    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    graph.add_edge("b", "c")
    return graph.compile(checkpointer=True if keeps else None)


def post(state):
    return {"path": [state["say"], state.get("left"), state.get("right")]}


def as_node(*, keeps):
    """A graph → post: the graph is a node."""
    graph = StateGraph(State)
    graph.add_node("sub", inner("left", keeps=keeps, asks=True))
    graph.add_node("post", post)
    graph.add_edge(START, "sub")
    graph.add_edge("sub", "post")
    graph.add_edge("post", END)
    return graph.compile()


def called():
    """The same, with a graph that a node calls."""
    below = inner("left", asks=True)

    async def call(state):
        return {"left": (await below.ainvoke({"say": state["say"]}))["left"]}

    graph = StateGraph(State)
    graph.add_node("sub", call)
    graph.add_node("post", post)
    graph.add_edge(START, "sub")
    graph.add_edge("sub", "post")
    graph.add_edge("post", END)
    return graph.compile()


def nested():
    """plan → two graphs at the same time → post. One is a node and asks; the other is called, and has a third one in it."""
    right = inner("right", between=inner("deep"))

    async def call(state):
        return {"right": (await right.ainvoke({"say": state["say"]}))["right"]}

    graph = StateGraph(State)
    graph.add_node("plan", lambda state: {"path": [f"plan {state['say']}"]})
    graph.add_node("left_", inner("left", asks=True))
    graph.add_node("right_", call)
    graph.add_node("post", post)
    graph.add_edge(START, "plan")
    for side in ("left_", "right_"):
        graph.add_edge("plan", side)
    graph.add_edge(["left_", "right_"], "post")
    graph.add_edge("post", END)
    return graph.compile()


kept_node = as_node(keeps=True)
plain_node = as_node(keeps=False)
kept_called = called()
nested_graph = nested()
