"""The least there is: a graph of two steps, without any model.

curl -s http://127.0.0.1:2024/runs/wait -d '{"assistant_id": "haiku", "input": {"topic": "rain"}}'
"""

import re

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class Poem(TypedDict, total=False):
    """What the steps read and write. The server stores it after each of them."""

    topic: str
    lines: list[str]
    syllables: list[int]


async def write(state: Poem) -> Poem:
    return {"lines": ["An old silent pond", f"Into it falls {state['topic']}", "Silence once again"]}


async def count(state: Poem) -> Poem:
    # As many as there are groups of vowels: near enough.
    return {"syllables": [len(re.findall("[aeiouy]+", line.lower())) for line in state["lines"]]}


# `langgraph.json` names this variable. A builder that is not compiled yet would do as well.
graph = (
    StateGraph(Poem)
    .add_node("write", write)
    .add_node("count", count)
    .add_edge(START, "write")
    .add_edge("write", "count")
    .add_edge("count", END)
    .compile()
)
