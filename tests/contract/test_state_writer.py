"""State updates when others come in between: nothing is lost, nothing is half-written."""

import asyncio
import operator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from tests.clocks import ManualClock
from threadloom.checkpointer import Saver
from threadloom.engine.removal import remove_thread
from threadloom.errors import Conflict, NotFound
from threadloom.services.requests import NodeUpdate, StateUpdate, Superstep
from threadloom.services.state_update import LocalLocks, StateWriter
from threadloom.services.thread_graph import ThreadGraphs
from threadloom.types import SYSTEM, Run, Thread

pytestmark = pytest.mark.anyio


class Words(TypedDict, total=False):
    words: Annotated[list[str], operator.add]


GRAPH = StateGraph(Words).add_node("speak", lambda state: state).add_edge(START, "speak").compile()


class OneGraph:
    """The graph, for whoever asks; something may happen each time while it is open."""

    def __init__(self, saver):
        self._graph = GRAPH.copy({"checkpointer": saver})
        self.happenings = []

    def is_made_anew(self, graph_id):
        return False

    @asynccontextmanager
    async def open(self, graph_id, *, config, access):
        yield self._graph
        if self.happenings:
            await self.happenings.pop(0)()


class House:
    def __init__(self, storage):
        self.storage = storage
        self.clock = ManualClock()
        self.saver = Saver(storage)
        self.graphs = OneGraph(self.saver)
        self.writer = self.process()

    def process(self):
        """A writer that shares no lock with another: one of another process."""
        graphs = ThreadGraphs(storage=self.storage, graphs=self.graphs)
        return StateWriter(storage=self.storage, clock=self.clock, graphs=graphs, locks=LocalLocks())

    def thread(self, thread_id="t"):
        now = self.clock.now()
        dates = {"created_at": now, "updated_at": now, "state_updated_at": now}
        return Thread(thread_id=thread_id, metadata={"graph_id": "g"}, **dates)

    async def history(self, thread_id="t"):
        return await self.storage.read(lambda tx: tx.lineage.history(thread_id))

    async def record(self, thread_id="t"):
        return await self.storage.read(lambda tx: tx.threads.get(thread_id))

    async def words(self, thread_id="t"):
        graph = GRAPH.copy({"checkpointer": self.saver})
        state = await graph.aget_state({"configurable": {"thread_id": thread_id}})
        return state.values.get("words")

    async def start_run(self):
        now = self.clock.now()
        run = Run(
            run_id="r",
            thread_id="t",
            assistant_id="a",
            status="pending",
            created_at=now,
            updated_at=now,
            metadata={},
            kwargs={},
            multitask_strategy="enqueue",
            due=now,
        )
        await self.storage.write(lambda tx: tx.runs.insert(run))


@pytest.fixture
async def house(storage):
    house = House(storage)
    await storage.write(lambda tx: tx.threads.insert(house.thread()))
    return house


def update(writer, asked):
    """An update by somebody who may make it."""
    return writer.update(SYSTEM, "t", asked, None)


def says(*words, **place):
    return StateUpdate(values={"words": list(words)}, as_node="speak", **place)


async def test_updates_of_two_processes_are_all_kept_in_one_line(house):
    writers = [house.process(), house.process()]
    updates = [update(writers[n % 2], says(str(n))) for n in range(16)]
    await asyncio.gather(*updates)
    assert sorted(await house.words(), key=int) == [str(n) for n in range(16)]
    rows = await house.history()
    assert [row.parent for row in rows] == [*(row.checkpoint_id for row in rows[1:]), None]
    assert [row.meta["step"] for row in rows] == list(range(15, -1, -1))


async def test_a_state_that_changed_meanwhile_is_written_on_as_it_is_now(house):
    other = house.process()

    async def meanwhile():
        await update(other, says("quick"))

    house.graphs.happenings = [meanwhile]
    await update(house.writer, says("slow"))
    assert await house.words() == ["quick", "slow"]
    assert len(await house.history()) == 2


async def test_a_run_that_was_made_meanwhile_is_a_conflict(house):
    house.graphs.happenings = [house.start_run]
    with pytest.raises(Conflict, match="in-flight runs: r"):
        await update(house.writer, says("late"))
    assert await house.history() == []


async def test_a_thread_that_was_deleted_meanwhile_gets_no_history(house):
    async def meanwhile():
        await house.storage.write(lambda tx: remove_thread(tx, "t", now=0))

    house.graphs.happenings = [meanwhile]
    with pytest.raises(NotFound):
        await update(house.writer, says("late"))
    assert await house.history() == []
    assert await house.record() is None


async def test_a_checkpoint_that_was_pruned_meanwhile_is_not_found(house):
    first = (await update(house.writer, says("a"))).checkpoint_id
    await update(house.writer, says("b"))

    async def meanwhile():
        await house.storage.write(lambda tx: tx.lineage.prune("t"))

    house.graphs.happenings = [meanwhile]
    with pytest.raises(NotFound, match=first):
        await update(house.writer, says("c", checkpoint={"checkpoint_id": first}))
    assert await house.words() == ["a", "b"]
    assert len(await house.history()) == 1


async def test_a_prune_meanwhile_does_not_disturb_an_update_of_the_latest(house):
    big = "w" * 1000
    await update(house.writer, says("a", big))
    await update(house.writer, says("b"))

    async def meanwhile():
        await house.storage.write(lambda tx: tx.lineage.prune("t"))

    house.graphs.happenings = [meanwhile]
    await update(house.writer, StateUpdate(values={}, as_node="speak"))
    assert await house.words() == ["a", big, "b"]
    assert len(await house.history()) == 2


async def test_an_id_that_was_taken_meanwhile_is_a_conflict(house):
    async def meanwhile():
        await house.storage.write(lambda tx: tx.threads.insert(house.thread("new")))

    house.graphs.happenings = [meanwhile]
    steps = [Superstep(updates=[NodeUpdate(as_node="speak", values={"words": ["a"]})])]
    with pytest.raises(Conflict, match="already exists"):
        await house.writer.supersteps(SYSTEM, house.thread("new"), steps, True, None)
    assert await house.history("new") == []
    assert (await house.record("new")).values_json is None


async def test_dates_move_on_though_the_clock_stands_still(house):
    dates = []
    for word in "abc":
        await update(house.writer, says(word))
        record = await house.record()
        dates.append((record.updated_at, record.state_updated_at))
    assert dates == sorted(set(dates))


async def test_locks_let_one_in_at_a_time_and_leave_nothing_behind():
    locks = LocalLocks()
    inside = []

    async def enter(thread_id):
        async with locks.hold(thread_id):
            inside.append(thread_id)
            assert inside.count(thread_id) == 1
            await asyncio.sleep(0)
            inside.remove(thread_id)

    await asyncio.gather(*(enter(thread_id) for thread_id in "ababab"))
    waiting = asyncio.create_task(enter("a"))
    async with locks.hold("a"):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(enter("a"), 1)
    assert locks.held() == 0
