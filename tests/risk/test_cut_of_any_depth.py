"""A copy cut at a checkpoint of a subgraph goes on inside it: what had been done is not done again, and the rest is done once.

The parent is cut at the same moment. Tables: `a -> b -> c` in a subgraph, then `post`; cut where b is next, run without input.
The rule: docs/contract/repository.md#copy-anywhere.
"""

import asyncio
import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from threadloom.errors import UnstoredParentError

pytestmark = pytest.mark.anyio

DURABILITIES = ("sync", "async")


class State(TypedDict):
    trail: Annotated[list[str], operator.add]


class Recorder:
    """Graphs whose nodes note that they ran, with a saver."""

    def __init__(self, saver):
        self.saver = saver
        self.ran = []

    def node(self, name):
        async def run(state: State) -> State:
            self.ran.append(name)
            return {"trail": [name]}

        return run

    def graph(self, *steps, checkpointer=None):
        """A chain of nodes: names, or (name, node) for another node."""
        builder = StateGraph(State)
        names = [START]
        for step in steps:
            name, node = (step, self.node(step)) if isinstance(step, str) else step
            builder.add_node(name, node)
            builder.add_edge(names[-1], name)
            names.append(name)
        builder.add_edge(names[-1], END)
        return builder.compile(checkpointer=checkpointer)

    def inner(self, *steps, stateful=False):
        return self.graph(*steps, checkpointer=True if stateful else None)

    def called(self, graph):
        """A node that calls a graph."""

        async def call(state: State) -> State:
            self.ran.append("call")
            done = await graph.ainvoke({"trail": state["trail"][-1:]})
            return {"trail": done["trail"][1:]}

        return call

    def whole(self, *steps):
        return self.graph(*steps, checkpointer=self.saver)

    async def rerun(self, graph, thread):
        """What runs on a thread without input, and the trail in the end."""
        self.ran.clear()
        result = await graph.ainvoke(None, on(thread))
        return self.ran, result["trail"]


@pytest.fixture
def made(saver):
    return Recorder(saver)


def on(thread, **configurable):
    return {"configurable": {"thread_id": thread, **configurable}}


async def rows(storage, thread):
    return await storage.read(lambda tx: tx.lineage.history(thread))


async def inside(storage, graph, thread, last, depth=1):
    """Namespace and id of the newest checkpoint, of a subgraph of that depth, whose last step was a node."""
    saver = graph.checkpointer
    for row in await rows(storage, thread):
        if row.namespace and row.namespace.count("|") == depth - 1:
            found = await saver.aget_tuple(on(thread, checkpoint_ns=row.namespace, checkpoint_id=row.checkpoint_id))
            trail = found.checkpoint["channel_values"].get("trail", [])
            if trail and trail[-1] == last:
                return row.namespace, row.checkpoint_id
    raise AssertionError(f"no checkpoint after {last}")


async def cut(storage, place, target="cut", source="source", **more):
    namespace, at = place
    return await storage.write(lambda tx: tx.lineage.copy(source, target, at=at, namespace=namespace, **more))


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_copy_at_an_inner_checkpoint_runs_the_rest_and_nothing_twice(storage, made, durability, stateful):
    graph = made.whole("pre", ("sub", made.inner("a", "b", "c", stateful=stateful)), "post")
    done = await graph.ainvoke({"trail": ["in"]}, on("source"), durability=durability)
    before = await rows(storage, "source")
    root = await cut(storage, await inside(storage, graph, "source", "a"))
    state = await graph.aget_state(on("cut"), subgraphs=True)
    assert state.next == ("sub",)
    assert state.config["configurable"]["checkpoint_id"] == root
    assert state.tasks[0].state.next == ("b",)
    ran, trail = await made.rerun(graph, "cut")
    assert ran == ["b", "c", "post"]
    assert trail == done["trail"]
    assert await rows(storage, "source") == before


@pytest.mark.parametrize("last", ["in", "a", "b", "c"])
async def test_at_each_checkpoint_of_the_subgraph_what_follows_it_runs(storage, made, last):
    graph = made.whole(("sub", made.inner("a", "b", "c")), "post")
    await graph.ainvoke({"trail": ["in"]}, on("source"))
    await cut(storage, await inside(storage, graph, "source", last))
    ran, _ = await made.rerun(graph, "cut")
    assert ran == ["a", "b", "c", "post"][["in", "a", "b", "c"].index(last) :]


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("stateful", [False, True])
async def test_two_levels_deep(storage, made, stateful, outer):
    deep = made.inner("a", "b", "c", stateful=stateful)
    middle = made.inner("m", ("deep", deep), "n", stateful=outer)
    graph = made.whole("pre", ("middle", middle), "post")
    done = await graph.ainvoke({"trail": ["in"]}, on("source"))
    await cut(storage, await inside(storage, graph, "source", "a", depth=2))
    ran, trail = await made.rerun(graph, "cut")
    assert ran == ["b", "c", "n", "post"]
    assert trail == done["trail"]


@pytest.mark.parametrize("stateful", [False, True])
async def test_a_subgraph_that_is_called_from_a_node(storage, made, stateful):
    """The node itself runs again, as after an interrupt; the subgraph goes on."""
    graph = made.whole("pre", ("sub", made.called(made.inner("a", "b", "c", stateful=stateful))), "post")
    await graph.ainvoke({"trail": ["in"]}, on("source"))
    await cut(storage, await inside(storage, graph, "source", "a"))
    ran, _ = await made.rerun(graph, "cut")
    assert ran == ["call", "b", "c", "post"]


async def test_the_memory_of_a_stateful_subgraph_ends_with_the_cut_turn(storage, made):
    graph = made.whole(("sub", made.called(made.inner("a", "b", stateful=True))))
    places = []
    for number in range(3):
        await graph.ainvoke({"trail": [f"in {number}"]}, on("source"))
        places.append(await inside(storage, graph, "source", "a"))
    await cut(storage, places[1])
    await made.rerun(graph, "cut")
    memory = await graph.checkpointer.aget_tuple(on("cut", checkpoint_ns="sub"))
    assert memory.checkpoint["channel_values"]["trail"] == ["in 0", "a", "b", "in 1", "a", "b"]


async def test_a_parallel_task_that_had_finished_is_not_run_twice(storage, made):
    """The other branch is as it was at that moment: finished, or inside its own subgraph."""

    async def wait(state: State) -> State:
        while not {"quick", "y"} <= set(made.ran):
            await asyncio.sleep(0)
        return await made.node("a")(state)

    builder = StateGraph(State)
    builder.add_node("quick", made.node("quick"))
    builder.add_node("left", made.inner(("a", wait), "b", "c"))
    builder.add_node("right", made.inner("x", "y", "z"))
    builder.add_node("post", made.node("post"))
    for name in ("quick", "left", "right"):
        builder.add_edge(START, name)
    builder.add_edge(["quick", "left", "right"], "post")
    graph = builder.compile(checkpointer=made.saver)
    done = await graph.ainvoke({"trail": ["in"]}, on("source"))
    await cut(storage, await inside(storage, graph, "source", "b"))
    ran, trail = await made.rerun(graph, "cut")
    assert "quick" not in ran
    assert not {"a", "b", "x"} & set(ran)
    assert ran.count("c") == ran.count("post") == 1
    assert sorted(trail) == sorted(done["trail"])


async def test_a_copy_of_such_a_copy_goes_on_too(storage, made):
    graph = made.whole(("sub", made.inner("a", "b", "c")), "post")
    await graph.ainvoke({"trail": ["in"]}, on("source"))
    place = await inside(storage, graph, "source", "a")
    await cut(storage, place)
    await storage.write(lambda tx: tx.lineage.copy("cut", "again"))
    await cut(storage, place, "anew", "again")
    for name in ("source", "cut", "again"):
        await storage.write(lambda tx, name=name: tx.lineage.delete(name))
    assert (await made.rerun(graph, "anew"))[0] == ["b", "c", "post"]


@pytest.mark.parametrize("keep", [None, 1])
async def test_an_edited_inner_checkpoint_of_a_run_that_is_over(storage, made, keep):
    """It was put after later root checkpoints. The copy ends with the one that it was made under, whose tasks run again."""
    graph = made.whole("pre", ("sub", made.inner("a", "b", "c")), "post")
    await graph.ainvoke({"trail": ["in"]}, on("source"))
    namespace, at = await inside(storage, graph, "source", "a")
    parents = (await storage.read(lambda tx: tx.lineage.get("source", namespace, at))).meta["parents"]
    place = on("source", checkpoint_ns=namespace, checkpoint_id=at, checkpoint_map={**parents, namespace: at})
    edited = (await graph.aupdate_state(place, {"trail": ["edit"]}))["configurable"]
    assert await cut(storage, (namespace, edited["checkpoint_id"]), keep=keep) == parents[""]
    state = await graph.aget_state(on("cut"))
    assert (state.next, state.config["configurable"]["checkpoint_id"]) == (("sub",), parents[""])
    ran, trail = await made.rerun(graph, "cut")
    assert ran == ["b", "c", "post"]
    assert "edit" in trail


async def test_a_parent_that_was_never_stored_is_no_place_to_cut(storage, made):
    """With `durability="exit"` only the last checkpoint of the root graph is stored, so a stateful subgraph's has no parent."""
    graph = made.whole("pre", ("sub", made.inner("a", "b", stateful=True)), "post")
    await graph.ainvoke({"trail": ["in"]}, on("source"), durability="exit")
    place = await inside(storage, graph, "source", "b")
    with pytest.raises(UnstoredParentError):
        await cut(storage, place)
    assert await rows(storage, "cut") == []


@pytest.mark.parametrize("keep", [1, 2, 100])
async def test_the_kept_end_of_a_cut_goes_on_inside_too(storage, made, keep):
    graph = made.whole("pre", ("sub", made.inner("a", ("deep", made.inner("d", "e")), "c")), "post")
    done = await graph.ainvoke({"trail": ["in"]}, on("source"))
    await cut(storage, await inside(storage, graph, "source", "d", depth=2), keep=keep)
    assert len([row for row in await rows(storage, "cut") if not row.namespace]) == min(keep, 3)
    ran, trail = await made.rerun(graph, "cut")
    assert ran == ["e", "c", "post"]
    assert trail == done["trail"]
