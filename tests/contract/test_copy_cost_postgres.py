"""What a copy costs on PostgreSQL, counted: the same statements and rows, read and written, whatever the history."""

import asyncpg
import pytest

from tests.contract import copied
from tests.storages import opened, rows_of
from threadloom.services.requests import ThreadCopy
from threadloom.storage.postgres import PostgresStorage
from threadloom.types import SYSTEM

pytestmark = pytest.mark.anyio

TABLES = ("threads", "forks", "states", "segments", "heads", "checkpoints", "writes", "blobs", "run_spans")
ONE_COPY = {"threads": 1, "forks": 1, "segments": 1, "heads": 1}
"""The rows that a copy adds."""

# Rows that were put in, changed, taken out, and read with and without an index: of tables that a copy has to do with.
WORK = """
SELECT sum(n_tup_ins)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_del)::bigint,
    sum(seq_tup_read)::bigint, sum(idx_tup_fetch)::bigint
FROM pg_stat_user_tables WHERE schemaname = 'threadloom' AND relname = ANY($1::text[])
"""

# The rest of a history, made by the database itself.
LENGTHEN = """
WITH made AS (
    INSERT INTO checkpoints (pos, seg, namespace, checkpoint_id, parent,
        body_type, body, channels, blobs, small_channels, small_bytes, meta)
    SELECT nextval('positions'), k.seg, k.namespace, $1 || '-' || lpad(n::text, 6, '0'), k.checkpoint_id,
        k.body_type, k.body, k.channels,
        ARRAY[$2::bigint + n], k.small_channels, k.small_bytes, k.meta
    FROM generate_series(1, $3::integer) n, (SELECT * FROM checkpoints WHERE checkpoint_id = $1 || '-000000') k
    ORDER BY n
    RETURNING pos, blobs[1] AS id
)
INSERT INTO blobs (id, pos, type, number, size, data)
SELECT id, pos, 'bytes', 1, 50, convert_to(repeat('b', 50), 'UTF8') FROM made
"""


@pytest.fixture
async def storage(request, tmp_path, postgres_uri):
    """A storage of one connection: the database counts for each by itself, and tells when it is asked on that one."""
    async with opened("postgres", request, tmp_path):
        pass
    storage = PostgresStorage(postgres_uri, connections=1)
    await storage.open()
    yield storage
    await storage.close()


async def thread_of(storage, length):
    """A thread with a history of so many checkpoints, which shows a state of 20 kB."""
    name = f"thread-{length:06}"
    first = copied.checkpoint(storage, name, f"{length}-000000", None)

    async def work(tx):
        await tx.threads.insert(copied.thread(name))
        await tx.lineage.put(first)

    await storage.write(work)
    ids = 2**50 + length * 10
    await storage.database.write(lambda session: session.execute(LENGTHEN, str(length), ids, length - 1), heavy=True)
    return name


async def work_done(storage):
    """How many rows of each kind of work the database has counted."""

    async def counted(session):
        return tuple(await session.fetchrow(WORK, list(TABLES)))

    await storage.database.write(lambda session: session.execute("SELECT pg_stat_force_next_flush()"))
    return await storage.database.write(counted)


async def cost_of(storage, thread, monkeypatch, count=1, **options):
    """The last copy; the round trips to the database, the rows of each kind of work, and the rows added to each table."""
    trips = []

    def counts():
        return {table: rows_of(storage, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}

    def noted(method):
        async def run(connection, query, *values, **more):
            trips.append(query)
            return await method(connection, query, *values, **more)

        return run

    before, done = counts(), await work_done(storage)
    with monkeypatch.context() as patch:
        for name in ("execute", "fetch", "fetchrow", "fetchval"):
            patch.setattr(asyncpg.Connection, name, noted(getattr(asyncpg.Connection, name)))
        *_, copy = (await copied.service(storage).copy(SYSTEM, thread, ThreadCopy(count=count, **options))).threads
    work = [now - then for now, then in zip(await work_done(storage), done, strict=True)]
    return copy, len(trips), work, {table: number - before[table] for table, number in counts().items()}


async def test_a_copy_costs_the_same_at_any_length(storage, monkeypatch):
    await cost_of(storage, await thread_of(storage, 2), monkeypatch)  # plans are made, catalogs read
    costs = []
    for length in (10, 1_000, 100_000):
        thread = await thread_of(storage, length)
        copy, trips, work, rows = await cost_of(storage, thread, monkeypatch)
        history = await storage.read(lambda tx, copy=copy: tx.lineage.history(copy.thread_id, namespace="", limit=3))
        assert [row.checkpoint_id for row in history] == [
            f"{length}-{number:06}" for number in range(length - 1, length - 4, -1)
        ]
        assert len(copy.values_json) == 20_002
        costs.append((trips, work, rows))
    assert costs[0] == costs[1] == costs[2]
    trips, work, rows = costs[0]
    assert {table: count for table, count in rows.items() if count} == ONE_COPY
    assert work[0] == 4
    assert work[3] == 0, "no table is read as a whole"
    assert work[4] < 40
    assert trips == 7


async def test_a_thousand_copies_take_as_many_round_trips_as_one(storage, monkeypatch):
    """Nor more than two locks: the thread's and its lineage's."""
    thread = await thread_of(storage, 10)
    for at in (None, "10-000004"):
        options = {} if at is None else {"checkpoint_id": at}
        _, one, _, _ = await cost_of(storage, thread, monkeypatch, **options)
        for count in (2, 10, 1_000):
            copy, trips, _, rows = await cost_of(storage, thread, monkeypatch, count, **options)
            assert trips <= one + (1 if at else 0)
            made = {table: number * count for table, number in ONE_COPY.items()} | ({"states": 1} if at else {})
            assert {table: number for table, number in rows.items() if number} == made
            assert copy.forked_from.checkpoint_id == (at or "10-000009")
            found = await storage.read(lambda tx, copy=copy: tx.lineage.latest(copy.thread_id, ""))
            assert found.checkpoint_id == copy.forked_from.checkpoint_id
            assert await storage.read(lambda tx, copy=copy: tx.threads.get(copy.thread_id)) == copy


async def test_copies_inside_and_kept_ends_take_as_many_round_trips_for_a_thousand(storage, monkeypatch):
    thread = await thread_of(storage, 1_000)
    root = "1000-000999"
    await storage.write(lambda tx: tx.lineage.put(copied.inner_checkpoint(storage, thread, root)))
    for options, more in ((copied.inside(root), {"states": 1}), ({"keep": 3}, {"segments": 1, "checkpoints": 3})):
        trips = []
        for count in (1, 1, 1_000):
            _, number, _, rows = await cost_of(storage, thread, monkeypatch, count, **options)
            made = {table: number * count for table, number in ONE_COPY.items()}
            for table, added in more.items():
                made[table] = made.get(table, 0) + added
            if "keep" in options:
                made["blobs"] = rows["blobs"]
            assert {table: number for table, number in rows.items() if number} == made
            trips.append(number)
        assert trips[2] <= trips[1] + 1  # the first of copies that show a state of their own stores it
