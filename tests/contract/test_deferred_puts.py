"""A run does not wait for what it puts: it reads it all the same, its end waits for it, and what fails stops what follows."""

import asyncio
import operator
import sqlite3
import threading
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from tests.contract.test_checkpointer import BIG, checkpoint, on, usage
from tests.contract.test_lineage import claimed, ids
from tests.storages import kind_of, opened
from threadloom.checkpointer import FENCE, Saver
from threadloom.errors import LostLeaseError, PutsFailedError, StorageError
from threadloom.storage.sqlite import database

pytestmark = pytest.mark.anyio


@pytest.fixture
def patient(monkeypatch):
    """Nothing is committed by itself."""
    monkeypatch.setattr(database, "DEFERRED_SECONDS", 600)


async def nothing(tx):
    """A commit, for all that was deferred to go along with."""


def of(fence, thread="t", **configurable):
    return on(thread, run_id="run", **{FENCE: fence}, **configurable)


def after(stored, fence):
    """The config of what follows a checkpoint in the same run."""
    return of(fence, checkpoint_id=stored["configurable"]["checkpoint_id"])


async def keep(saver, config, fence, numbers, new):
    """Puts checkpoints that follow each other and hold one big value, `new` in the first of them. Gives the last one's config."""
    for number in numbers:
        config = after(await saver.aput(config, checkpoint(number, kept=BIG), {}, new), fence)
        new = {}
        await asyncio.sleep(0)  # others have a turn
    return config


async def test_all_is_there_when_the_block_is_left(storage, patient):
    saver, run = Saver(storage), await claimed(storage)
    async with saver.deferring(run.fence):
        config = of(run.fence)
        for number in range(1, 200):
            config = after(await saver.aput(config, checkpoint(number, x=number), {}, {"x": number}), run.fence)
            await saver.aput_writes(config, [("x", number)], "task")
    assert await ids(storage, "t") == [f"{number:04d}" for number in range(199, 0, -1)]
    assert (await saver.aget_tuple(on("t"))).pending_writes == [("task", "x", 199)]


async def test_a_run_reads_what_it_has_put(storage, patient):
    saver, run = Saver(storage), await claimed(storage)
    async with saver.deferring(run.fence):
        config = after(await saver.aput(of(run.fence), checkpoint(1, x=BIG), {}, {"x": 1}), run.fence)
        await saver.aput_writes(config, [("x", 5)], "task")
        found = await saver.aget_tuple(config)
        assert (found.checkpoint["channel_values"], found.pending_writes) == ({"x": BIG}, [("task", "x", 5)])
        await saver.aput(config, checkpoint(2, x=BIG), {}, {})
        assert [one.checkpoint["id"] async for one in saver.alist(of(run.fence))] == ["0002", "0001"]


async def test_what_is_on_its_way_is_inherited(storage, patient):
    saver, run = Saver(storage), await claimed(storage)
    async with saver.deferring(run.fence):
        await keep(saver, of(run.fence), run.fence, range(1, 6), {"kept": 1})
    assert (await usage(storage, "t"))["kept"][0] == 1
    assert (await Saver(storage).aget_tuple(on("t"))).checkpoint["channel_values"] == {"kept": BIG}


async def test_what_went_with_a_prune_meanwhile_is_stored_again(storage, patient):
    saver, run = Saver(storage), await claimed(storage)
    async with saver.deferring(run.fence):
        config = await keep(saver, of(run.fence), run.fence, range(1, 3), {"kept": 1})
        # Stored between the pruning and its end, and built on what the pruning stores anew.
        pruned = asyncio.create_task(saver.aprune(["t"]))
        await asyncio.sleep(0)
        config = await keep(saver, config, run.fence, range(3, 6), {})
        await pruned
        await keep(saver, config, run.fence, [6], {})
    fresh = Saver(storage)
    for checkpoint_id in await ids(storage, "t"):
        found = await fresh.aget_tuple(on("t", checkpoint_id=checkpoint_id))
        assert found.checkpoint["channel_values"] == {"kept": BIG}


async def test_after_one_that_failed_none_is_stored(storage, patient):
    saver, run = Saver(storage), await claimed(storage)
    with pytest.raises(LostLeaseError):
        async with saver.deferring(run.fence):
            config = after(await saver.aput(of(run.fence), checkpoint(1, x=1), {}, {"x": 1}), run.fence)
            await storage.write(lambda tx: tx.runs.set_status("run", "error", updated_at=1, ended_at=1))
            for number in range(2, 5):
                config = after(await saver.aput(config, checkpoint(number, x=number), {}, {"x": number}), run.fence)
    assert await ids(storage, "t") == ["0001"]


async def test_an_error_of_the_block_is_the_one_that_is_told(storage):
    saver, run = Saver(storage), await claimed(storage)
    with pytest.raises(ZeroDivisionError):
        async with saver.deferring(run.fence):
            await saver.aput(of(run.fence), checkpoint(1, x=1), {}, {"x": 1})
            raise ZeroDivisionError
    assert await ids(storage, "t") == ["0001"]
    await saver.aput(on("t"), checkpoint(2, x=1), {}, {"x": 1})  # nothing of the block is left
    assert await ids(storage, "t") == ["0002", "0001"]


async def test_a_full_disk_is_told_as_such(request, tmp_path, patient):
    async with opened("sqlite", request, tmp_path) as storage:
        saver, run = Saver(storage), await claimed(storage)
        await storage.write(lambda tx: full(tx, "SELECT page_count FROM pragma_page_count()"))
        with pytest.raises(StorageError, match="full"):
            async with saver.deferring(run.fence):
                config = of(run.fence)
                for number in range(1, 50):
                    config = after(
                        await saver.aput(config, checkpoint(number, x=BIG * 10 + str(number)), {}, {"x": number}),
                        run.fence,
                    )
        await storage.write(lambda tx: full(tx, "SELECT 1000000"))
        for checkpoint_id in await ids(storage, "t"):
            assert await saver.aget_tuple(on("t", checkpoint_id=checkpoint_id))


async def full(tx, pages):
    """Lets the database have so many pages."""
    connection = tx.lineage._db
    connection.execute(f"PRAGMA max_page_count = {connection.execute(pages).fetchone()[0]}")


async def test_nothing_is_built_on_what_a_failed_commit_lost(request, tmp_path, patient, monkeypatch):
    """On the writer's thread the next commit begins before the event loop hears of the failed one."""
    async with opened("sqlite", request, tmp_path) as storage:
        saver, run = Saver(storage), await claimed(storage)
        await saver.aput(of(run.fence), checkpoint(1, kept=BIG), {}, {"kept": 1})
        busy, go_on = threading.Event(), threading.Event()
        refused = []

        def breaks(connection):
            busy.set()
            go_on.wait(30)

        def refuses(connection):
            refused.append(True)
            connection.execute("ROLLBACK")  # as SQLite does when the disk fails
            raise sqlite3.OperationalError("disk I/O error")

        with pytest.raises(StorageError):
            async with saver.deferring(run.fence):
                storage.database.submit(breaks)
                await asyncio.to_thread(busy.wait, 30)
                config = of(run.fence, checkpoint_id="0001")
                config = after(await saver.aput(config, checkpoint(2, kept=BIG * 2), {}, {"kept": 2}), run.fence)
                storage.database.submit(refuses)
                storage.database.submit(lambda connection: None, heavy=True)  # the next commit is another one
                config = after(await saver.aput(config, checkpoint(3, kept=BIG * 2), {}, {}), run.fence)
                storage.database.submit(lambda connection: None)
                go_on.set()
        assert refused
        for checkpoint_id in await ids(storage, "t"):
            assert await Saver(storage).aget_tuple(on("t", checkpoint_id=checkpoint_id))
        assert await ids(storage, "t") == ["0001"]


@pytest.mark.parametrize("blocked", [False, True])
async def test_a_node_may_run_a_graph_on_a_loop_of_its_own(storage, patient, blocked):
    """Also when the event loop of the server is blocked by it."""
    saver, run = Saver(storage), await claimed(storage)
    inner = StateGraph(State).add_node("one", lambda state: {"trail": ["inner"]}).add_edge(START, "one").compile()
    config = of(run.fence)

    def node(state: State, config) -> State:
        return asyncio.run(inner.ainvoke({"trail": []}, config))

    async def blocking(state: State, config) -> State:
        found = []
        thread = threading.Thread(target=lambda: found.append(node(state, config)))
        thread.start()
        thread.join(30)
        return found[0]

    inner.checkpointer = saver
    outer = StateGraph(State).add_node("outer", blocking if blocked else node).add_edge(START, "outer")
    graph = outer.compile(checkpointer=saver)
    async with asyncio.timeout(60), saver.deferring(run.fence):
        assert (await graph.ainvoke({"trail": ["go"]}, config))["trail"] == ["go", "inner"]


async def test_who_reads_after_a_block_that_failed_sees_all_of_it(storage, patient):
    """Also while the writer's thread is busy: the state that the record of a cancelled run shows is read now."""
    saver, run = Saver(storage), await claimed(storage)
    busy, go_on = threading.Event(), threading.Event()

    async def slow(tx):
        if kind_of(storage) == "sqlite":
            busy.set()
            go_on.wait(30)

    heavy = asyncio.create_task(storage.write(slow, heavy=True))
    if kind_of(storage) == "sqlite":
        await asyncio.to_thread(busy.wait, 30)
    with pytest.raises(ZeroDivisionError):
        async with saver.deferring(run.fence):
            await saver.aput(of(run.fence), checkpoint(1, x=1), {}, {"x": 1})
            asyncio.get_running_loop().call_later(0.1, go_on.set)
            raise ZeroDivisionError
    assert (await saver.aget_tuple(on("t"))).checkpoint["id"] == "0001"
    await heavy


class State(TypedDict):
    trail: Annotated[list[str], operator.add]


def graph_of(saver):
    """Two branches, a plain function among them, and a graph within the graph."""

    async def awaited(state: State) -> State:
        return {"trail": ["awaited"]}

    def plain(state: State) -> State:
        return {"trail": ["plain"]}

    inner = StateGraph(State).add_node("one", plain).add_node("two", awaited)
    inner.add_edge(START, "one").add_edge("one", "two").add_edge("two", END)
    outer = StateGraph(State).add_node("left", awaited).add_node("right", plain).add_node("inner", inner.compile())
    for name in ("left", "right"):
        outer.add_edge(START, name).add_edge(name, "inner")
    return outer.add_edge("inner", END).compile(checkpointer=saver)


async def test_a_graph_leaves_the_same_history(storage):
    """As one that waits for each step, row by row and in the same order."""
    told = []
    for thread, durability in (("waits", "sync"), ("trails", "async")):
        saver, run = Saver(storage), await claimed(storage, thread)
        graph = graph_of(saver)
        async with saver.deferring(run.fence if durability == "async" else 0):
            for _ in range(3):
                await graph.ainvoke({"trail": ["go"]}, of(run.fence, thread), durability=durability)
        await storage.write(lambda tx: tx.runs.delete("run"))
        rows = await storage.read(lambda tx: tx.lineage.history(thread))  # noqa: B023
        names = {row.checkpoint_id: number for number, row in enumerate(sorted(rows, key=lambda row: row.pos))}
        told.append(
            [
                (
                    row.namespace.partition(":")[0],
                    names[row.checkpoint_id],
                    names.get(row.parent),
                    row.meta["step"],
                    len(row.writes),
                )
                for row in sorted(rows, key=lambda row: (row.namespace != "", row.pos))
            ]
        )
        states = [state async for state in graph.aget_state_history(on(thread))]
        told[-1].append([(state.values["trail"] if state.values else None, state.next) for state in states])
    assert told[0] == told[1]


async def test_a_failure_that_many_wait_for_does_not_grow(request, tmp_path, patient, monkeypatch):
    async with opened("sqlite", request, tmp_path) as storage:
        saver, run = Saver(storage), await claimed(storage)

        async def refuse(self, put):
            raise StorageError("full")

        tracebacks = set()
        with pytest.raises(StorageError, match="full"):
            async with saver.deferring(run.fence):
                monkeypatch.setattr("threadloom.storage.sqlite.lineage.SqliteLineage.put_writes", refuse)
                await saver.aput_writes(of(run.fence, checkpoint_id="1"), [("x", 1)], "task")
                await storage.write(nothing)
                for number in range(50):
                    with pytest.raises(StorageError, match="full") as refused:
                        await saver.aput_writes(of(run.fence, checkpoint_id="1"), [("x", 1)], f"task {number}")
                    tracebacks.add(len(refused.traceback))
        assert len(tracebacks) == 1


async def test_the_end_of_a_run_answers_for_what_it_left(request, tmp_path, patient, monkeypatch):
    """In one commit with it: both are there or neither, and what goes with the thread is not stored."""
    async with opened("sqlite", request, tmp_path) as storage:
        saver, run = Saver(storage), await claimed(storage)
        async with saver.deferring(run.fence) as trail:
            await saver.aput(of(run.fence), checkpoint(1, x=1), {}, {"x": 1})
            trail.leave()
        trail.drop()
        await storage.write(nothing)
        trail.confirm()
        assert await ids(storage, "t") == []

        async def refuse(self, put):
            raise StorageError("full")

        monkeypatch.setattr("threadloom.storage.sqlite.lineage.SqliteLineage.put", refuse)
        async with saver.deferring(run.fence) as trail:
            await saver.aput(of(run.fence), checkpoint(2, x=1), {}, {"x": 1})
            trail.leave()
        await storage.write(nothing)
        with pytest.raises(PutsFailedError) as failed:
            trail.confirm()
        assert isinstance(failed.value.failure, StorageError)
        # The end of a run whose thread goes with it is tried again, and not the whole run.
        trail.drop()
        trail.confirm()
