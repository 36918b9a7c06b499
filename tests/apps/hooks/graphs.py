"""Graphs whose runs tell webhooks."""

from typing import TypedDict

from langgraph.graph import START, StateGraph


class Count(TypedDict):
    n: int


def count(state: Count) -> Count:
    return {"n": state["n"] + 1}


def fail(state: Count) -> Count:
    raise ValueError("ouch")


class Doubled(TypedDict):
    twice: int


class Items(TypedDict):
    items: list[str]


def append(state: Items) -> Items:
    state["items"].append("put in by the node")
    return {"items": state["items"]}


class Both(Count, Doubled):
    pass


def double(state: Count) -> Doubled:
    return {"twice": 2 * state["n"]}


counter = StateGraph(Count).add_node(count).add_edge(START, "count").compile()
failing = StateGraph(Count).add_node(fail).add_edge(START, "fail").compile()
careless = StateGraph(Items).add_node(append).add_edge(START, "append").compile()
narrow = (
    StateGraph(Both, input_schema=Count, output_schema=Doubled).add_node(double).add_edge(START, "double").compile()
)
