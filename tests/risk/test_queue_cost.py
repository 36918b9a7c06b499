"""A run costs the same however many wait before it on its thread, or elsewhere: counted, not timed."""

import pytest

from tests.clocks import MORNING
from tests.contract.test_runs import run as made
from tests.storages import kind_of, opened
from threadloom.clock import SECOND
from threadloom.engine.admission import NoStarter, admit
from threadloom.engine.finalize import RunFinalizer
from threadloom.engine.outputs import RecentOutputs
from threadloom.storage.drive import drive
from threadloom.types import Thread

pytestmark = pytest.mark.anyio

FEW, MANY = 30, 3000
NOW = MORNING + SECOND
READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0) + n_tup_ins + n_tup_upd + n_tup_del)::bigint
FROM pg_stat_xact_user_tables WHERE relname IN ('runs', 'threads', 'outcomes')
"""


def run(run_id, thread_id="t", delay=0):
    kwargs = {"config": {"configurable": {"graph_id": "g"}}}
    return made(run_id, thread_id, MORNING + delay * SECOND, created_at=MORNING, updated_at=MORNING, kwargs=kwargs)


async def counted(storage, work):
    """What a transaction costs: rows that PostgreSQL reads and writes, or instructions of SQLite's."""
    if kind_of(storage) == "postgres":

        async def counting(session):
            # What earlier transactions of the connection counted is in there too, until the database has taken it over.
            before = await session.fetchval(READ)
            await work(storage._tx(session))
            return int(await session.fetchval(READ) - before)

        return await storage.database.write(counting)

    def stepping(connection):
        steps = 0

        def step():
            nonlocal steps
            steps += 1

        connection.set_progress_handler(step, 1)
        try:
            drive(work, storage._tx(connection))
        finally:
            connection.set_progress_handler(None, 0)
        return steps

    return await storage.database.write(stepping)


async def costs(storage, waiting, where):
    """What each part of a run's way through the queue costs behind so many that wait."""

    async def fill(tx):
        for name in ("t", "u"):
            thread = Thread(
                thread_id=name, created_at=MORNING, updated_at=MORNING, state_updated_at=MORNING, metadata={}
            )
            await tx.threads.insert(thread, fresh=True)
        for number in range(waiting):
            await tx.runs.insert(run(f"w{number}", delay=3600 if where == "delayed" else 0))

    await storage.write(fill)
    if where == "running":
        await storage.write(lambda tx: tx.runs.claim("w", NOW, NOW, 1))
    found = {}

    async def admitting(tx):
        await admit(tx, run("new"), NoStarter(), keep=0)

    async def elsewhere(tx):
        await admit(tx, run("other", "u"), NoStarter(), keep=0)

    async def claiming(tx):
        claimed = await tx.runs.claim("w", NOW, NOW, 1)
        assert len(claimed) == 1
        found["claimed"] = claimed[0]

    async def looking(tx):
        await tx.runs.count_active_of_user("somebody")
        await tx.runs.peek(NOW)
        await tx.runs.leases()
        await tx.runs.has_active("t")
        await tx.runs.active("t", limit=10)
        await tx.runs.of_thread("t", status="running", limit=10)

    async def finalizing(tx):
        one = found["claimed"]
        await tx.runs.set_status(one.run_id, "success", updated_at=NOW, ended_at=NOW)
        thread = await tx.threads.get(one.thread_id, with_state=False)
        await RunFinalizer(storage=storage, clock=None, keep=1, outputs=RecentOutputs())._show(
            tx, one, thread, None, None, NOW
        )

    async def back(tx):
        await tx.runs.requeue(found["claimed"].run_id, attempt=0)

    steps = (admitting, elsewhere, looking, claiming, looking, back, claiming, finalizing, claiming)
    if where == "running":
        steps = (admitting, elsewhere, looking, claiming, looking, back, claiming, finalizing, looking)
    return [(step.__name__, await counted(storage, step)) for step in steps]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("where", ["waiting", "running", "delayed"])
async def test_queue_cost(kind, where, request, tmp_path):
    """Enqueueing, looking, claiming, giving back and settling: behind runs that wait for their turn, behind one that is executed
    as well, and beside runs that wait for their time."""
    async with opened(kind, request, tmp_path / "few") as storage:
        few = await costs(storage, FEW, where)
    async with opened(kind, request, tmp_path / "many") as storage:
        many = await costs(storage, MANY, where)
    for (name, behind_few), (_, behind_many) in zip(few, many, strict=True):
        # An index is a level or two deeper.
        assert behind_many <= behind_few * 1.25 + 20, (name, few, many)
