"""A copy cut at a checkpoint takes none of that checkpoint's own pending writes along.

Carried along, they would be taken for results: the copy would skip the step and silently repeat the past. A whole copy, on the
other hand, keeps the pending writes of its newest checkpoint: an interrupted thread stays interrupted.
The rule: docs/contract/threads.md#copying.
"""

import asyncio
import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from threadloom.checkpointer import Saver

pytestmark = pytest.mark.anyio

DURABILITIES = ("sync", "async", "exit")


class SlowSaver(Saver):
    """Stores checkpoints so slowly that LangGraph's steps overtake them."""

    async def aput(self, config, checkpoint, metadata, new_versions):
        for _ in range(200):
            await asyncio.sleep(0)
        return await super().aput(config, checkpoint, metadata, new_versions)


@pytest.fixture
async def slow_saver(storage):
    return SlowSaver(storage)


class State(TypedDict):
    trail: Annotated[list[str], operator.add]


def node(name, ran):
    async def run(state: State) -> State:
        ran.append(name)
        return {"trail": [name]}

    return run


def chain(saver, ran, inner=None):
    """a -> b -> c; `inner`, if given, stands for b."""
    builder = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, inner if inner is not None and name == "b" else node(name, ran))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    builder.add_edge("c", END)
    return builder.compile(checkpointer=saver)


def on(thread, **configurable):
    return {"configurable": {"thread_id": thread, **configurable}}


async def copy(storage, source, target, at=None):
    return await storage.write(lambda tx: tx.lineage.copy(source, target, at=at))


async def before(graph, thread, name):
    """The checkpoint from which a node is next."""
    states = [state async for state in graph.aget_state_history(on(thread)) if state.next == (name,)]
    return states[0].config["configurable"]["checkpoint_id"]


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_copy_cut_at_a_checkpoint_runs_its_step_again(storage, saver, durability):
    ran = []
    graph = chain(saver, ran)
    await graph.ainvoke({"trail": ["start"]}, on("source"), durability=durability)
    at = await before(graph, "source", "b")
    assert await copy(storage, "source", "cut", at=at) == at

    ran.clear()
    state = await graph.aget_state(on("cut"))
    assert state.next == ("b",)
    assert state.values == {"trail": ["start", "a"]}
    result = await graph.ainvoke(None, on("cut"), durability=durability)
    assert ran == ["b", "c"]
    assert result == {"trail": ["start", "a", "b", "c"]}


async def test_nor_does_it_take_what_overtook_the_checkpoint(storage, slow_saver):
    """Results, and an inner graph's checkpoints, that were stored before the checkpoint they build on."""
    ran = []
    inner = StateGraph(State)
    for name in ("one", "two"):
        inner.add_node(name, node(name, ran))
    inner.add_edge(START, "one")
    inner.add_edge("one", "two")
    graph = chain(slow_saver, ran, inner.compile())
    await graph.ainvoke({"trail": []}, on("source"), durability="async")
    at = await before(graph, "source", "b")
    await copy(storage, "source", "cut", at=at)

    ran.clear()
    assert (await graph.aget_state(on("cut"), subgraphs=True)).next == ("b",)
    await graph.ainvoke(None, on("cut"), durability="async")
    assert ran == ["one", "two", "c"]


async def test_the_same_as_time_travel_in_the_source(storage, saver):
    ran = []
    graph = chain(saver, ran)
    await graph.ainvoke({"trail": []}, on("source"))
    at = await before(graph, "source", "c")
    await copy(storage, "source", "cut", at=at)
    ran.clear()
    there = await graph.ainvoke(None, on("source", checkpoint_id=at))
    here = await graph.ainvoke(None, on("cut"))
    assert ran == ["c", "c"]
    assert here == there


def asking(saver):
    def ask(state: State) -> State:
        return {"trail": [interrupt("which way?")]}

    async def beside(state: State) -> State:
        return {"trail": ["beside"]}

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("beside", beside)
    builder.add_edge(START, "ask")
    builder.add_edge(START, "beside")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_whole_copy_of_an_interrupted_thread_stays_interrupted(storage, saver, durability):
    graph = asking(saver)
    await graph.ainvoke({"trail": []}, on("source"), durability=durability)
    await copy(storage, "source", "left")
    await copy(storage, "source", "right")
    for thread in ("left", "right"):
        state = await graph.aget_state(on(thread))
        assert [question.value for task in state.tasks for question in task.interrupts] == ["which way?"]

    async def resumed(thread, answer):
        return (await graph.ainvoke(Command(resume=answer), on(thread), durability=durability))["trail"]

    assert sorted(await resumed("left", "west")) == ["beside", "west"]
    assert sorted(await resumed("right", "east")) == ["beside", "east"]
    assert (await graph.aget_state(on("source"))).next
    assert sorted(await resumed("source", "north")) == ["beside", "north"]


async def test_a_cut_at_the_question_asks_it_again(storage, saver):
    graph = asking(saver)
    await graph.ainvoke({"trail": []}, on("source"))
    await graph.ainvoke(Command(resume="north"), on("source"))
    states = [state async for state in graph.aget_state_history(on("source"))]
    question = next(state for state in states if "ask" in state.next)
    await copy(storage, "source", "cut", at=question.config["configurable"]["checkpoint_id"])
    assert not [task for task in (await graph.aget_state(on("cut"))).tasks if task.interrupts or task.result]
    answer = await graph.ainvoke(None, on("cut"))
    assert [question.value for question in answer["__interrupt__"]] == ["which way?"]
    answer = await graph.ainvoke(Command(resume="south"), on("cut"))
    assert sorted(answer["trail"]) == ["beside", "south"]
