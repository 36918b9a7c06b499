"""What is PostgreSQL's own about records: who waits for whom, what a claim costs, ids of processes whose clocks differ."""

import asyncio
import contextlib
import re

import asyncpg
import pytest

from tests.contract.test_runs import claim, end, put, run
from tests.contract.test_together import event
from tests.storages import opened
from threadloom.storage.filters import Equals
from threadloom.storage.named import load, numbered
from threadloom.storage.postgres import PostgresStorage, connections
from threadloom.storage.threads import ThreadQuery
from threadloom.types import Thread

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(request, tmp_path):
    async with opened("postgres", request, tmp_path) as storage:
        yield storage


@contextlib.asynccontextmanager
async def meanwhile(postgres_uri, *statements):
    """Another process, in the middle of a transaction."""
    connection = await asyncpg.connect(postgres_uri, server_settings={"search_path": connections.SCHEMA})
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
            yield
    finally:
        await connection.close()


# --- who waits for whom ---


async def test_a_thread_that_is_being_changed_holds_up_no_claim(storage, postgres_uri):
    await put(storage, run("a", "t"), run("b", "u"))
    async with meanwhile(postgres_uri, "SELECT pg_advisory_xact_lock(tl_key('t'))"):
        async with asyncio.timeout(60):
            assert [one.run_id for one in await claim(storage)] == ["b"]
    assert [one.run_id for one in await claim(storage)] == ["a"]


async def test_a_thread_that_is_being_changed_is_passed_over_when_lost_runs_are_looked_for(storage, postgres_uri):
    await put(storage, run("a", "t"), run("b", "u"))
    await claim(storage)
    leases = await storage.read(lambda tx: tx.runs.leases())
    async with meanwhile(postgres_uri, "SELECT pg_advisory_xact_lock(tl_key('t'))"):
        async with asyncio.timeout(60):
            assert [one.run_id for one in await storage.write(lambda tx: tx.runs.still_held(leases))] == ["b"]


async def test_leases_are_renewed_beside_a_long_transaction(storage, postgres_uri):
    """The lease of the run that is being changed stays ours too, and is said not to be extended yet."""
    await put(storage, run("a", "t"), run("b", "u"))
    held = [(one.run_id, one.fence) for one in await claim(storage, now=100)]
    async with meanwhile(postgres_uri, "UPDATE runs SET cancel = 'interrupt' WHERE run_id = 'a'"):
        async with asyncio.timeout(60):
            kept = await storage.write(lambda tx: tx.runs.renew(held, 500))
            assert {one.run_id: one.extended for one in kept} == {"a": False, "b": True}
    leases = [(await storage.read(lambda tx, r=r: tx.runs.get(r))).lease for r in "ab"]
    assert leases == [130, 500]


async def test_an_event_is_stored_while_the_thread_is_being_changed(storage, postgres_uri):
    async with meanwhile(postgres_uri, "SELECT pg_advisory_xact_lock(tl_key('t'))"):
        async with asyncio.timeout(60):
            await storage.write(lambda tx: tx.events.append([event(1)]))


async def test_a_run_does_not_end_while_something_is_stored_for_it(storage, postgres_uri):
    await put(storage, run("a"))
    [held] = await claim(storage)
    checked, go_on = asyncio.Event(), asyncio.Event()

    async def store(tx):
        assert await tx.runs.holds("a", held.fence)
        checked.set()
        await go_on.wait()

    storing = asyncio.create_task(storage.write(store))
    await checked.wait()
    ending = asyncio.create_task(end(storage, "a"))
    done, _ = await asyncio.wait([ending], timeout=0.3)
    assert not done
    go_on.set()
    await asyncio.gather(storing, ending)
    assert not await storage.read(lambda tx: tx.runs.holds("a", held.fence))


# --- what it costs ---

READ = "SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables WHERE relname = $1"


async def rows_read(storage, work, table="runs"):
    """How many rows of a table a transaction reads."""

    async def counted(session):
        before = await session.fetchval(READ, table)
        await work(storage._tx(session))
        return await session.fetchval(READ, table) - before

    return await storage.database.write(counted)


async def test_runs_that_wait_on_a_busy_thread_cost_a_claim_nothing(storage):
    waiting = [run(f"w{number}", "busy", due=5) for number in range(3000)]
    await put(storage, run("first", "busy", due=1), *waiting, run("other", "free", due=9))
    await claim(storage, limit=1)

    async def claim_one(tx):
        [found] = await tx.runs.claim("w", 100, 200, 1)
        assert found.run_id == "other"

    async def finalize(tx):
        await tx.runs.set_status("first", "success", updated_at=1, ended_at=1)

    async def add(tx):
        await tx.runs.insert(run("last", "busy", due=6))

    for work in (claim_one, lambda tx: tx.runs.peek(100), finalize, add):
        assert await rows_read(storage, work) < 20
    assert [one.run_id for one in await claim(storage)] == ["w0"]


async def test_twenty_thousand_threads_are_searched_without_reading_each(storage):
    fill = """
        INSERT INTO threads (thread_id, created_at, updated_at, state_updated_at, metadata, search, status, config)
        SELECT 't' || n, n, n, n, m, m::jsonb, 'idle', '{}'
        FROM generate_series(1, 20000) AS n, LATERAL (SELECT format('{"mark":"m%s","n":%s}', n, n % 3) AS m) AS made
    """
    await storage.database.write(lambda session: session.execute(fill))
    await storage.database.write(lambda session: session.execute("ANALYZE threads"))  # as the database does by itself

    async def by_metadata(tx):
        [found] = await tx.threads.search(ThreadQuery(metadata={"mark": "m7"}))
        assert found.thread_id == "t7"

    async def by_filter(tx):
        assert await tx.threads.count(ThreadQuery(where=Equals("mark", "m8"))) == 1

    async def newest(tx):
        found = await tx.threads.search(ThreadQuery(sort_by="updated_at", limit=5))
        assert [one.thread_id for one in found] == ["t20000", "t19999", "t19998", "t19997", "t19996"]

    async def most(tx):
        assert len(await tx.threads.search(ThreadQuery(metadata={"n": 1}, limit=5))) == 5

    for work in (by_metadata, by_filter, newest, most):
        assert await rows_read(storage, work, "threads") < 30


FILES = ("assistants", "crons", "deliveries", "events", "items", "runs", "tasks", "threads")
WHOLE = {
    ("items", "living_vectors"): "all vectors of a length",
    ("deliveries", "release"): "only who is alone does this, when it starts",
    ("deliveries", "recompute_due"): "only after the clock was set back",
}
"""Queries that may read all they find, and why."""
SMALL = re.compile(r"(active|leases|ready\w*|pending\w*|running|expiry|expires|due|ended)$")
"""Indexes that hold only what is still to be done."""


async def test_no_query_reads_a_whole_table(database):
    """With sequential scans switched off, a plan has one only where no index helps; a walk of an index without a condition is
    the same. In a database of the test's own: what others left in theirs, and what is known of it, makes other plans."""

    async def plans(session):
        found = {}
        for file in FILES:
            for name, query in load("threadloom.storage.postgres", f"{file}.sql").items():
                query, _ = numbered(query, "$")
                await session.execute(f"PREPARE looked_at AS {query}")
                values = ", ".join(["NULL"] * max(map(int, re.findall(r"\$(\d+)", query)), default=0))
                rows = await session.fetch(f"EXPLAIN EXECUTE looked_at{values and f'({values})'}")
                found[file, name] = [row[0] for row in rows]
                await session.execute("DEALLOCATE looked_at")
        return found

    storage = PostgresStorage(database)
    await storage.open()
    try:
        found = await storage.database.write(plans)
    finally:
        await storage.close()
    assert {key: plan for key, plan in found.items() if key not in WHOLE and _scans(plan)} == {}


def _scans(plan):
    for number, line in enumerate(plan):
        if "Seq Scan" in line:
            return True
        walk = re.search(r"Index (?:Only )?Scan(?: Backward)? using (\w+)", line)
        below = plan[number + 1] if number + 1 < len(plan) else ""
        if walk and "Index Cond" not in below and not SMALL.search(walk[1]):
            return True
    return False


# --- clocks ---


async def test_ids_of_events_grow_although_clocks_differ(storage):
    async def tell(*events):
        return await storage.write(lambda tx: tx.events.append(events))

    await tell(event(0, ms=100), event(1, ms=100))
    late = await tell(event(0, ms=90), event(1, ms=90), event(0, ms=101))
    assert [(one.ms, one.n, one.seq) for one in late] == [(100, 2, 3), (100, 3, 4), (101, 0, 5)]
    [after] = await tell(event(5, ms=99))
    assert (after.ms, after.n) == (101, 1)
    stored = await storage.read(lambda tx: tx.events.of_thread("t", after=(100, 1)))
    assert [(one.ms, one.n) for one in stored] == [(100, 2), (100, 3), (101, 0), (101, 1)]
    assert [one.seq for one in await storage.read(lambda tx: tx.events.of_run("r"))] == [1, 2, 3, 4, 5, 6]


async def test_an_event_whose_time_is_over_keeps_its_number(storage):
    made = Thread(thread_id="t", created_at=1, updated_at=1, state_updated_at=1, metadata={})
    await storage.write(lambda tx: tx.threads.insert(made))
    await storage.write(lambda tx: tx.events.append([event(1), event(2)]))
    await storage.write(lambda tx: tx.events.expire("r", 10))
    assert await storage.write(lambda tx: tx.events.delete_expired(11)) == 2
    [stored] = await storage.write(lambda tx: tx.events.append([event(1)]))
    assert (stored.seq, stored.ms, stored.n) == (3, 1, 3)
