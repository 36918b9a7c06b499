"""Graphs that go wrong in the ways servers fear."""

import asyncio
import operator
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class Steps(TypedDict, total=False):
    """`done` names the steps that ended, each with the attempt that made it."""

    todo: int
    pause: float
    done: Annotated[list[str], operator.add]


def note(variable: str, *words: object) -> None:
    """Writes a line outside the server, into the file that a variable names, if it is set."""
    if file := os.environ.get(variable):
        with Path(file).open("a") as journal:
            journal.write(" ".join(map(str, words)) + "\n")


async def step(state: Steps, config: RunnableConfig) -> dict[str, Any]:
    """One step. Notes its beginning and end outside the server, so that a test sees whether two ran at once."""
    number = len(state.get("done", []))
    attempt = config["metadata"]["run_attempt"]
    where = (config["configurable"]["run_id"], number, attempt, os.getpid())
    note("RISK_JOURNAL", *where)
    note("RISK_TIMES", *where, "begin", time.monotonic())
    await asyncio.sleep(state.get("pause", 0.05))
    note("RISK_TIMES", *where, "end", time.monotonic())
    return {"done": [f"{number}"]}


def more(state: Steps) -> str:
    return "step" if len(state.get("done", [])) < state.get("todo", 5) else END


steps = (
    StateGraph(Steps)
    .add_node("step", step)
    .add_edge(START, "step")
    .add_conditional_edges("step", more, ["step", END])
    .compile()
)


class Blocking(TypedDict, total=False):
    seconds: float
    woke: bool


async def hog(state: Blocking) -> dict[str, Any]:
    """Blocks the event loop, as much of the world's code does."""
    time.sleep(state.get("seconds", 1.0))
    return {"woke": True}


blocking = StateGraph(Blocking).add_node("hog", hog).add_edge(START, "hog").add_edge("hog", END).compile()


class Poison(TypedDict, total=False):
    taken: bool


async def poisoned(state: Poison) -> dict[str, Any]:
    """Kills the process that executes it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {"taken": True}


poison = (
    StateGraph(Poison).add_node("poisoned", poisoned).add_edge(START, "poisoned").add_edge("poisoned", END).compile()
)


class Firehose(TypedDict, total=False):
    events: int
    size: int


async def pour(state: Firehose) -> dict[str, Any]:
    writer = get_stream_writer()
    text = "x" * state.get("size", 1000)
    for number in range(state.get("events", 1000)):
        writer({"n": number, "text": text})
        if number % 50 == 0:
            await asyncio.sleep(0)
    return {"events": 0}


firehose = StateGraph(Firehose).add_node("pour", pour).add_edge(START, "pour").add_edge("pour", END).compile()


class Count(TypedDict, total=False):
    n: Annotated[int, operator.add]
    big: Any


async def inc(state: Count) -> dict[str, Any]:
    return {"n": 1}


counter = StateGraph(Count).add_node("inc", inc).add_edge(START, "inc").add_edge("inc", END).compile()


def sample_frames() -> None:
    """Looks at every thread's frames again and again, as a profiler does, and keeps each look until the next."""
    while True:
        looked_at = sys._current_frames()
        time.sleep(0.0005)
        del looked_at


if os.environ.get("RISK_SAMPLER"):
    threading.Thread(target=sample_frames, daemon=True).start()


class Asked(TypedDict, total=False):
    """`said` are questions with their answers."""

    said: Annotated[list[list[str]], operator.add]


async def ask(state: Asked) -> dict[str, Any]:
    question = f"round {len(state['said'])}"
    answer = interrupt(question)
    await asyncio.sleep(0.01)
    return {"said": [[question, answer]]}


asking = StateGraph(Asked).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", "ask").compile()
