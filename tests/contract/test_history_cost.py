"""What a read, a put or a cut costs, counted: the same for a thread of four hundred checkpoints and one of four thousand.

Inner graphs have namespaces of their own, and threads that are shorter or longer have theirs beside: nothing of that is read.
"""

import pytest

from tests.contract.test_lineage import checkpoint, copy, writes
from tests.storages import KINDS, kind_of
from threadloom.storage.postgres import PostgresStorage
from threadloom.storage.sqlite import SqliteStorage

pytestmark = pytest.mark.anyio

SHORT, LONG = 400, 4000
ROWS = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables"


@pytest.fixture(params=KINDS)
async def storage(request, tmp_path, database):
    """A storage that nothing was in before: what others left in theirs, and what is known of it, makes other plans."""
    storage = SqliteStorage(tmp_path) if request.param == "sqlite" else PostgresStorage(database)
    await storage.open()
    yield storage
    await storage.close()


def name(length, number):
    return f"{length}-{number:06}"


def ns_of(number):
    return "" if number % 3 else f"inner:{number}"


async def filled(storage, length):
    """A thread with so many checkpoints, every third in a namespace of its own, ten for each run. Gives its name."""
    thread = f"thread-{length}"

    async def work(tx):
        for number in range(length):
            run = f"run-{length}-{number // 10}"
            checkpoint_id, namespace = name(length, number), ns_of(number)
            meta = {"run_id": run, "source": "loop"}
            await tx.lineage.put(checkpoint(thread, checkpoint_id, namespace=namespace, meta=meta, run_id=run))
            await tx.lineage.put_writes(
                writes(thread, checkpoint_id, ("task", 0, b"x"), namespace=namespace, run_id=run)
            )

    await storage.write(work)
    return thread


async def cost_of(storage, work):
    """Steps that SQLite takes, in hundreds; rows that PostgreSQL reads."""
    if kind_of(storage) == "postgres":

        async def counted(session):
            before = await session.fetchval(ROWS)
            await work(storage._tx(session))
            return await session.fetchval(ROWS) - before

        return await storage.database.write(counted)

    async def stepped(tx):
        steps = []
        tx.lineage._db.set_progress_handler(lambda: steps.append(0), 100)
        await work(tx)
        tx.lineage._db.set_progress_handler(None, 0)
        return len(steps)

    return await storage.write(stepped)


def operations(thread, length):
    """What is done to a thread, by name."""
    middle = length // 2 // 6 * 6 + 1
    last_run = f"run-{length}-{(length - 1) // 10}"
    return {
        "latest": lambda tx: tx.lineage.latest(thread, ""),
        "latest of no such namespace": lambda tx: tx.lineage.latest(thread, "none"),
        "by id": lambda tx: tx.lineage.get(thread, "", name(length, middle)),
        "page": lambda tx: tx.lineage.history(thread, namespace="", limit=5),
        "page before": lambda tx: tx.lineage.history(thread, namespace="", limit=5, before=name(length, middle)),
        "page of all": lambda tx: tx.lineage.history(thread, limit=5),
        "page of all before": lambda tx: tx.lineage.history(thread, limit=5, before=name(length, middle)),
        "page of an id": lambda tx: tx.lineage.history(
            thread, namespace="", checkpoint_id=name(length, middle), limit=5
        ),
        "page of an id in all": lambda tx: tx.lineage.history(thread, checkpoint_id=name(length, middle), limit=5),
        "page by metadata": lambda tx: tx.lineage.history(thread, namespace="", limit=5, metadata={"source": "loop"}),
        "exists": lambda tx: tx.lineage.exists(thread),
        "wrote": lambda tx: tx.lineage.wrote(thread, last_run),
        "put": lambda tx: tx.lineage.put(checkpoint(thread, "new", meta={"run_id": "new"}, run_id="new")),
        "delete_run": lambda tx: tx.lineage.delete_run(thread, "new"),
        "put again": lambda tx: tx.lineage.put(checkpoint(thread, "new", run_id="again")),
        "rollback": lambda tx: tx.lineage.rollback(thread, "again"),
        "copy": lambda tx: tx.lineage.copy(thread, f"{thread}-copy"),
        "copy at": lambda tx: tx.lineage.copy(thread, f"{thread}-old", at=name(length, middle)),
        "put on a copy": lambda tx: tx.lineage.put(checkpoint(f"{thread}-copy", "c", run_id="c")),
        "rollback on a copy": lambda tx: tx.lineage.rollback(f"{thread}-copy", "c"),
        "delete a copy": lambda tx: tx.lineage.delete(f"{thread}-copy"),
        "put once more": lambda tx: tx.lineage.put(checkpoint(thread, "more", run_id="more")),
        "rollback below a copy": lambda tx: tx.lineage.rollback(thread, "more"),
    }


@pytest.mark.parametrize("known", [False, True], ids=["young", "analyzed"])
async def test_nothing_that_is_asked_for_a_page_costs_more_the_longer_the_history_is(storage, known):
    short, long = await filled(storage, SHORT), await filled(storage, LONG)
    await filled(storage, SHORT + 1)
    if kind_of(storage) == "postgres":
        query = (
            "ANALYZE"
            if known
            else "UPDATE pg_class SET relpages = 0, reltuples = -1 WHERE relnamespace = 'threadloom'::regnamespace"
        )
        await storage.database.write(lambda session: session.execute(query))
    elif known:
        await storage.database.write(lambda connection: connection.execute("ANALYZE").fetchall())
    costs = {}
    for thread, length in ((short, SHORT), (long, LONG)):
        for what, work in operations(thread, length).items():
            costs.setdefault(what, []).append(await cost_of(storage, work))
    assert {what: cost for what, cost in costs.items() if cost[1] > 1.5 * cost[0] + 20} == {}


async def test_copies_of_a_thread_that_is_gone_are_freed_without_reading_the_rest(storage):
    """Each gives back what only it saw."""
    costs = []
    for length in (SHORT, LONG):
        thread = await filled(storage, length)
        await copy(storage, thread, f"{thread}-old", name(length, length - 50))
        await copy(storage, thread, f"{thread}-new")
        await storage.write(lambda tx, thread=thread: tx.lineage.delete(thread))
        costs.append(await cost_of(storage, lambda tx, thread=thread: tx.lineage.delete(f"{thread}-new")))
        left = await storage.read(lambda tx, thread=thread: tx.lineage.history(f"{thread}-old"))
        assert len(left) == length - 49
    assert costs[1] < 1.5 * costs[0] + 20
