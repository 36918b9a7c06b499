"""What every storage tells of the queue for `/metrics`."""

import pytest

from threadloom.storage.queue import QueueStats
from threadloom.types import Run

pytestmark = pytest.mark.anyio


def run(run_id, thread_id, due, status="pending", created_at=None):
    return Run(
        run_id=run_id,
        thread_id=thread_id,
        assistant_id="a",
        status=status,
        created_at=due if created_at is None else created_at,
        updated_at=1,
        metadata={},
        kwargs={"config": {"configurable": {"graph_id": "g"}}},
        multitask_strategy="enqueue",
        due=due,
    )


async def figures(storage, now, *runs):
    async def put(tx):
        for one in runs:
            await tx.runs.insert(one)

    await storage.write(put)
    return await storage.read(lambda tx: tx.runs.queue(now))


async def test_an_empty_queue(storage):
    assert await figures(storage, 100) == QueueStats(pending=0, running=0)


async def test_runs_that_wait_for_their_time_do_not_wait_yet(storage):
    found = await figures(
        storage, 100, run("1", "t", 200, created_at=5), run("2", "u", 90), run("3", "v", 80, created_at=5)
    )
    assert found == QueueStats(pending=3, running=0, oldest=80, median=90, oldest_unblocked=80)


async def test_a_thread_that_is_busy_holds_its_runs_up(storage):
    runs = [
        run("1", "t", 5, "running"),
        run("2", "t", 10),
        run("3", "u", 20),
        run("4", "u", 15),  # made when the clock had been set back: it stands behind the other
        run("5", "v", 30),
        run("6", "w", 40, "success"),
    ]
    found = await figures(storage, 100, *runs)
    assert found == QueueStats(pending=4, running=1, oldest=10, median=20, oldest_unblocked=20)


async def test_the_queue_is_listed_in_the_order_in_which_runs_start(storage):
    runs = [
        run("1", "t", 5, "running"),
        run("2", "t", 10),
        run("3", "u", 20),
        run("4", "u", 15),
        run("5", "v", 30),
        run("6", "w", 40, "success"),
        run("7", "x", 900, created_at=50),
    ]
    await figures(storage, 100, *runs)
    found = await storage.read(lambda tx: tx.runs.queued(None, 100))
    assert [(one.run_id, one.ready, one.delayed, one.ahead) for one in found] == [
        ("1", False, False, None),
        ("3", True, False, 0),
        ("5", True, False, 1),
        ("2", False, False, None),
        ("4", False, False, None),
        ("7", False, True, None),
    ]
    of_some = await storage.read(lambda tx: tx.runs.queued(["v", "t"], 100))
    assert [(one.run_id, one.ahead) for one in of_some] == [("1", None), ("5", 1), ("2", None)]
    assert [one.run_id for one in await storage.read(lambda tx: tx.runs.queued(None, 2))] == ["1", "3"]
    assert await storage.read(lambda tx: tx.runs.queued([], 100)) == []
