"""Delta channels: their value is the nearest stored one and all writes since. Real graphs, in each durability."""

from typing import Annotated, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from tests.encryptions import CIPHERS
from tests.savers import SAVERS, saver_of
from threadloom.checkpointer import Saver

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


DURABILITIES = ("sync", "async", "exit")


@pytest.fixture(params=SAVERS)
async def saver(storage, request):
    async with saver_of(storage, request.param) as saver:
        yield saver


def appended(state, writes):
    return state + [item for write in writes for item in write]


def graph_of(saver, frequency, kind=None):
    class State(TypedDict):
        log: Annotated[list[str], kind or DeltaChannel(appended, snapshot_frequency=frequency)]
        plain: str

    async def first(state: State) -> State:
        return {"log": [f"first {len(state['log'])}"], "plain": "p"}

    async def left(state: State) -> State:
        return {"log": ["left"]}

    async def right(state: State) -> State:
        return {"log": ["right"]}

    builder = StateGraph(State)
    builder.add_node("first", first)
    builder.add_node("left", left)
    builder.add_node("right", right)
    builder.add_edge(START, "first")
    builder.add_edge("first", "left")
    builder.add_edge("first", "right")
    return builder.compile(checkpointer=saver)


def on(thread, **configurable):
    return {"configurable": {"thread_id": thread, **configurable}}


async def filled(saver, frequency, durability, runs=3, thread="t"):
    graph = graph_of(saver, frequency)
    for number in range(runs):
        await graph.ainvoke({"log": [f"in {number}"]}, on(thread), durability=durability)
    return graph


EXPECTED = [item for number in range(3) for item in (f"in {number}", f"first {1 + 4 * number}", "left", "right")]


async def logs(graph, thread):
    return [state.values.get("log", []) async for state in graph.aget_state_history(on(thread))]


async def log(graph, thread):
    return (await graph.aget_state(on(thread))).values["log"]


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("frequency", [1, 2, 100])
async def test_every_state_of_the_history_is_rebuilt(saver, frequency, durability):
    graph = await filled(saver, frequency, durability)
    peer = await filled(InMemorySaver(), frequency, durability)
    assert await log(graph, "t") == EXPECTED
    assert await logs(graph, "t") == await logs(peer, "t")


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_copies_rebuild_what_they_inherited(storage, saver, durability):
    graph = await filled(saver, 100, durability)
    histories = await logs(graph, "t")
    await saver.acopy_thread("t", "copy")
    await graph.ainvoke({"log": ["only here"]}, on("t"), durability=durability)
    assert await logs(graph, "copy") == histories
    await graph.ainvoke({"log": ["only there"]}, on("copy"), durability=durability)
    assert (await log(graph, "copy"))[: len(EXPECTED) + 1] == [*EXPECTED, "only there"]
    await saver.adelete_thread("t")
    assert (await logs(graph, "copy"))[-len(histories) :] == histories


async def test_a_cut_shows_what_its_checkpoint_showed(storage, saver):
    graph = await filled(saver, 100, "async")
    async for state in graph.aget_state_history(on("t")):
        at = state.config["configurable"]["checkpoint_id"]
        await storage.write(lambda tx, at=at: tx.lineage.copy("t", f"cut-{at}", at=at))
        assert (await graph.aget_state(on(f"cut-{at}"))).values == state.values
        if state.next:
            here = await graph.ainvoke(None, on(f"cut-{at}"))
            await saver.acopy_thread("t", f"travel-{at}")
            assert here == await graph.ainvoke(None, on(f"travel-{at}", checkpoint_id=at))


@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("frequency", [1, 3, 100])
async def test_a_prune_leaves_the_state_as_it_was(saver, frequency, durability):
    graph = await filled(saver, frequency, durability)
    state = await graph.aget_state(on("t"))
    await saver.acopy_thread("t", "copy")
    histories = await logs(graph, "copy")
    count = len(histories)
    await saver.aprune(["t"])
    pruned = await graph.aget_state(on("t"))
    assert pruned.values == state.values
    assert pruned.next == state.next
    kept = [entry async for entry in saver.alist(on("t"))]
    assert len(kept) <= count
    if frequency == 1:
        assert len(kept) == 1
        assert kept[0].parent_config is None
    await graph.ainvoke({"log": ["after"]}, on("t"), durability=durability)
    assert (await log(graph, "t"))[: len(EXPECTED) + 1] == [*EXPECTED, "after"]
    await saver.aprune(["t"])
    assert (await log(graph, "t"))[: len(EXPECTED) + 1] == [*EXPECTED, "after"]
    assert await logs(graph, "copy") == histories


async def test_a_prune_without_delta_channels_keeps_one_checkpoint(saver):
    graph = graph_of(saver, 1, appended_pairwise)
    for _ in range(3):
        await graph.ainvoke({"log": ["x"]}, on("t"))
    await saver.aprune(["t"])
    assert len([entry async for entry in saver.alist(on("t"))]) == 1


def appended_pairwise(state, write):
    return state + write


async def test_forks_do_not_replay_each_others_writes(saver):
    graph = await filled(saver, 100, "async", runs=1)
    states = [state async for state in graph.aget_state_history(on("t"))]
    fork = next(state for state in states if state.next == ("left", "right"))
    await graph.aupdate_state(fork.config, {"log": ["by hand"]}, as_node="left")
    assert await log(graph, "t") == ["in 0", "first 1", "by hand"]
    await graph.ainvoke(None, fork.config)
    assert await log(graph, "t") == ["in 0", "first 1", "left", "right"]
    await graph.ainvoke({"log": ["in 1"]}, on("t"))
    assert (await log(graph, "t"))[:5] == ["in 0", "first 1", "left", "right", "in 1"]


async def test_a_channel_that_became_a_delta_channel_starts_from_its_plain_value(saver):
    """Also where the plain value is so small that it stands in the checkpoint's row."""

    def joined(state, writes):
        return (state or "") + "".join(writes)

    before = graph_of_text(saver, lambda state, write: (state or "") + write)
    await before.ainvoke({"text": "a"}, on("t"))
    after = graph_of_text(saver, DeltaChannel(joined, str, snapshot_frequency=100))
    await after.ainvoke({"text": "b"}, on("t"))
    assert (await after.aget_state(on("t"))).values["text"] == "a!b!"
    await saver.aprune(["t"])
    assert (await after.aget_state(on("t"))).values["text"] == "a!b!"


def graph_of_text(saver, kind):
    class State(TypedDict):
        text: Annotated[str, kind]

    async def node(state: State) -> State:
        return {"text": "!"}

    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=saver)


async def test_a_parent_on_another_branch_keeps_its_writes(storage):
    saver = Saver(storage)
    ids = [f"0000000{number}-0000-6000-8000-000000000000" for number in range(3)]
    at = on("t", checkpoint_ns="")
    for checkpoint_id in ids[:2]:
        at = await saver.aput(at, empty_checkpoint() | {"id": checkpoint_id}, {"step": 1}, {})
    await saver.aput_writes(at, [("log", ["kept"])], "task")
    first = await storage.read(lambda tx: tx.lineage.get("t", "", ids[0]))
    await storage.write(lambda tx: tx.lineage.begin_branch("t", first.pos))
    last = await saver.aput(at, empty_checkpoint() | {"id": ids[2]}, {"step": 2}, {})
    found = await saver.aget_delta_channel_history(config=last, channels=["log"])
    assert found["log"]["writes"] == [("task", "log", ["kept"])]
