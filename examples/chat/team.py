"""`team`: a graph inside a graph. The researcher is a graph of two steps, the writer uses what it found."""

import operator
from typing import Annotated

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class Work(TypedDict, total=False):
    topic: str
    notes: Annotated[list[str], operator.add]
    text: str


async def search(state: Work) -> Work:
    return {"notes": [f"{state['topic']} has a history"]}


async def check(state: Work) -> Work:
    return {"notes": ["and that is checked"]}


class Topic(TypedDict):
    topic: str


class Findings(TypedDict, total=False):
    topic: str
    notes: Annotated[list[str], operator.add]


researcher = (
    StateGraph(Findings, input_schema=Topic)
    .add_node("search", search)
    .add_node("check", check)
    .add_edge(START, "search")
    .add_edge("search", "check")
    .add_edge("check", END)
    .compile()
)


async def write(state: Work) -> Work:
    return {"text": ", ".join(state["notes"]) + "."}


agent = (
    StateGraph(Work)
    .add_node("researcher", researcher)
    .add_node("write", write)
    .add_edge(START, "researcher")
    .add_edge("researcher", "write")
    .add_edge("write", END)
    .compile()
)
