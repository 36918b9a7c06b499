"""A graph that writes down when it runs, and can be made to wait."""

import time
from pathlib import Path

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    name: str
    file: str
    until: str


def write(state: State) -> State:
    with Path(state["file"]).open("a") as file:
        file.write(state["name"] + "\n")
    while state.get("until") and not Path(state["until"]).exists():
        time.sleep(0.02)
    return {}


job = StateGraph(State).add_node(write).add_edge(START, "write").compile()
