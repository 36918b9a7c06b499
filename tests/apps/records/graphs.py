"""Graphs for the tests of assistants and crons. States are typed with `typing.TypedDict` on purpose."""

import operator
from typing import Annotated, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime


class Tone(TypedDict, total=False):
    tone: str


class Word(TypedDict):
    text: str


class Seen(TypedDict, total=False):
    words: list[Word]
    seen: str


async def see(state: Seen, runtime: Runtime[Tone]) -> Seen:
    return {"seen": (runtime.context or {}).get("tone", "none")}


echo = StateGraph(Seen, context_schema=Tone).add_node("see", see).add_edge(START, "see").compile()
nested = StateGraph(Seen).add_node("inner", echo).add_edge(START, "inner").compile()


def made(config: RunnableConfig) -> StateGraph:
    """As many steps as the assistant asks for."""
    builder = StateGraph(Seen)
    for step in range(config["configurable"].get("steps", 1)):
        builder.add_node(f"step_{step}", see)
        builder.add_edge(f"step_{step - 1}" if step else START, f"step_{step}")
    return builder


class Ticks(TypedDict, total=False):
    ticks: Annotated[int, operator.add]


async def tick(state: Ticks) -> Ticks:
    return {"ticks": 1}


ticking = StateGraph(Ticks).add_node("tick", tick).add_edge(START, "tick").compile()
