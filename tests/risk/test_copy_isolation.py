"""A copy and its source never notice each other, whatever either does.

The rule: docs/contract/threads.md#copying. Shown with real graphs.
"""

import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Overwrite, interrupt

from tests.storages import rows_of

pytestmark = pytest.mark.anyio


def appended(state, writes):
    return state + [item for write in writes for item in write]


class State(TypedDict):
    trail: Annotated[list[str], operator.add]
    log: Annotated[list[str], DeltaChannel(appended, snapshot_frequency=4)]
    asked: bool


def graph_of(saver):
    """step -> inner (with a memory of its own, and a question when `asked`) -> step2."""

    async def step(state: State) -> State:
        return {"trail": ["step"], "log": ["step"]}

    def inside(state: State) -> State:
        answer = interrupt("why?") if state["asked"] else "no question"
        return {"trail": [answer], "log": [f"inside {answer}"]}

    inner = StateGraph(State)
    inner.add_node("inside", inside)
    inner.add_edge(START, "inside")
    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_node("inner", inner.compile(checkpointer=True))
    builder.add_node("after", step)
    builder.add_edge(START, "step")
    builder.add_edge("step", "inner")
    builder.add_edge("inner", "after")
    builder.add_edge("after", END)
    return builder.compile(checkpointer=saver)


def on(thread, **configurable):
    return {"configurable": {"thread_id": thread, **configurable}}


async def shown(graph, saver, thread):
    """Everything that can be read of a thread, without its name."""
    states = []
    async for state in graph.aget_state_history(on(thread)):
        tasks = [(task.name, task.result, [question.value for question in task.interrupts]) for task in state.tasks]
        metadata = {key: value for key, value in state.metadata.items() if key != "thread_id"}
        place = state.config["configurable"]["checkpoint_id"]
        states.append((place, state.values, state.next, metadata, state.created_at, tasks))
    raw = []
    async for entry in saver.alist(on(thread)):
        place = entry.config["configurable"]
        parent = entry.parent_config and entry.parent_config["configurable"]["checkpoint_id"]
        raw.append((place["checkpoint_ns"], place["checkpoint_id"], parent, entry.checkpoint, entry.pending_writes))
    newest = await graph.aget_state(on(thread), subgraphs=True)
    return states, raw, newest.values, newest.next


async def test_a_copy_reads_like_its_source(saver):
    graph = graph_of(saver)
    await graph.ainvoke({"trail": ["in"], "asked": False}, on("source"))
    await graph.ainvoke({"trail": ["again"], "asked": True}, on("source"))
    await saver.acopy_thread("source", "copy")
    assert await shown(graph, saver, "copy") == await shown(graph, saver, "source")


CHANGES = ["run", "resume", "update", "travel", "overwrite", "prune", "delete", "delete_run", "rollback"]


async def change(graph, storage, thread, how):
    if how == "run":
        await graph.ainvoke({"trail": ["more"], "asked": False}, on(thread, run_id=f"{thread}-run"))
    elif how == "resume":
        await graph.ainvoke(Command(resume=f"because of {thread}"), on(thread))
    elif how == "update":
        await graph.aupdate_state(on(thread), {"trail": [f"by hand on {thread}"], "log": ["by hand"]}, as_node="inner")
    elif how == "overwrite":
        await graph.aupdate_state(on(thread), {"log": Overwrite(["anew"])}, as_node="step")
    elif how == "travel":
        states = [state async for state in graph.aget_state_history(on(thread))]
        oldest = next(state for state in reversed(states) if state.next == ("inner",))
        await graph.ainvoke(None, oldest.config)
    elif how == "prune":
        await storage.write(lambda tx: tx.lineage.prune(thread))
    elif how == "delete":
        await storage.write(lambda tx: tx.lineage.delete(thread))
    elif how == "delete_run":
        await storage.write(lambda tx: tx.lineage.delete_run(thread, "second-run"))
    elif how == "rollback":
        await storage.write(lambda tx: tx.lineage.rollback(thread, "second-run"))


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("changed", ["source", "copy"])
async def test_no_change_of_one_shows_in_another(storage, saver, changed, how):
    graph = graph_of(saver)
    await graph.ainvoke({"trail": ["in"], "asked": False}, on("source", run_id="first-run"))
    await saver.acopy_thread("source", "early")
    await graph.ainvoke({"trail": ["again"], "asked": True}, on("source", run_id="second-run"))
    await saver.acopy_thread("source", "copy")
    await saver.acopy_thread("copy", "copy of the copy")
    others = {"source", "early", "copy", "copy of the copy"} - {changed}
    before = {thread: await shown(graph, saver, thread) for thread in others}

    await change(graph, storage, changed, how)
    assert {thread: await shown(graph, saver, thread) for thread in others} == before
    for second in ("run", "travel") if how != "delete" else ("run",):
        await change(graph, storage, changed, second)
    assert {thread: await shown(graph, saver, thread) for thread in others} == before


async def test_copies_go_on_by_themselves_after_their_source_is_gone(storage, saver):
    graph = graph_of(saver)
    await graph.ainvoke({"trail": ["in"], "asked": True}, on("source"))
    for thread in ("left", "right"):
        await saver.acopy_thread("source", thread)
    before = await shown(graph, saver, "left")
    await saver.adelete_thread("source")
    await graph.ainvoke({"trail": ["a new thread"], "asked": False}, on("source"))
    assert await shown(graph, saver, "left") == before

    left = await graph.ainvoke(Command(resume="west"), on("left"))
    right = await graph.ainvoke(Command(resume="east"), on("right"))
    assert left["trail"] == ["in", "step", "in", "step", "west", "step"]
    assert right["trail"] == ["in", "step", "in", "step", "east", "step"]
    for thread in ("left", "right", "source"):
        await saver.adelete_thread(thread)
    for table in ("segments", "heads", "checkpoints", "writes", "blobs", "run_spans"):
        assert rows_of(storage, f"SELECT count(*) FROM {table}") == [(0,)]
