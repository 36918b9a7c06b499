"""What only a database has that many processes share: lost connections, locks, loops."""

import asyncio
import threading
import time

import asyncpg
import pytest

from tests.contract.test_lineage import checkpoint, copy, data, ids, put, writes
from tests.storages import opened, rows_of
from threadloom.errors import StorageError
from threadloom.storage.postgres import PostgresStorage, segments

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(request, tmp_path):
    async with opened("postgres", request, tmp_path) as storage:
        yield storage


@pytest.fixture
async def second(storage, postgres_uri):
    """Another process, as far as the database can tell."""
    second = PostgresStorage(postgres_uri)
    await second.open()
    yield second
    await second.close()


@pytest.fixture
async def new_database(postgres_uri):
    """Makes databases; gives the address of each."""
    admin = await asyncpg.connect(postgres_uri)
    made = []

    async def make():
        name = f"made_{time.monotonic_ns()}"
        await admin.execute(f"CREATE DATABASE {name}")
        made.append(name)
        return postgres_uri.rsplit("/", 1)[0] + f"/{name}"

    yield make
    for name in made:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


# --- starting ---


async def test_every_process_may_start_at_once(new_database):
    uri = await new_database()
    storages = [PostgresStorage(uri) for _ in range(6)]
    await asyncio.gather(*(storage.open() for storage in storages))
    await asyncio.gather(*(put(storage, checkpoint(f"t{n}", "1")) for n, storage in enumerate(storages)))
    blobs = {storage.new_blob_id() for storage in storages for _ in range(10)}
    assert len(blobs) == 60
    for storage in storages:
        await storage.close()


@pytest.mark.parametrize(
    "uri", ["postgresql://postgres@127.0.0.1:1/postgres", "postgresql://nobody@{host}/postgres", "{uri}_not_there"]
)
async def test_a_database_that_cannot_be_used_is_told_in_words(postgres_uri, uri):
    host = postgres_uri.split("@")[1].split("/")[0]
    with pytest.raises(StorageError, match=r"the database refused: .*(reached|nobody|not_there)"):
        await PostgresStorage(uri.format(uri=postgres_uri, host=host)).open()


# --- transactions ---


async def test_a_read_sees_one_moment(storage, second):
    seen = []

    async def work(tx):
        first = await tx.lineage.exists("t")
        await put(second, checkpoint("t", "1"))
        seen.append((first, await tx.lineage.exists("t")))

    await storage.read(work)
    assert seen == [(True, True)]  # begun again once it turned out to be more than one statement
    assert await storage.read(work) is None
    await second.write(lambda tx: tx.lineage.delete("t"))
    await storage.read(work)
    assert seen[-1] == (False, False)


async def test_a_thread_is_changed_by_one_after_the_other(storage, second):
    await storage.database.write(lambda session: session.execute("CREATE TABLE IF NOT EXISTS counters (n integer)"))
    await storage.database.write(lambda session: session.execute("INSERT INTO counters VALUES (0)"))

    async def count(session):
        await session.lock_thread("t")
        number = await session.fetchval("SELECT n FROM counters")
        await asyncio.sleep(0)
        await session.execute("UPDATE counters SET n = $1", number + 1)

    await asyncio.gather(*(one.database.write(count) for one in (storage, second) for _ in range(25)))
    assert rows_of(storage, "SELECT n FROM counters") == [(50,)]
    await storage.database.write(lambda session: session.execute("DROP TABLE counters"))


async def test_who_waits_for_each_other_is_made_to_begin_again(storage, second):
    met = asyncio.Barrier(2)
    tries = []

    def work(first, then):
        async def locking(session):
            tries.append(first)
            await session.lock_thread(first)
            if len(tries) <= 2:
                await met.wait()
            await session.lock_thread(then)
            return first

        return locking

    done = await asyncio.gather(storage.database.write(work("a", "b")), second.database.write(work("b", "a")))
    assert done == ["a", "b"]
    assert len(tries) == 3


async def test_who_waits_for_a_thread_in_vain_leaves_its_connection_as_it_was(storage, second, postgres_uri):
    """Its begin and its waiting are one message; when that fails there is a transaction all the same, which has to be ended."""
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(session):
        await session.lock_thread("t")
        held.set()
        await go_on.wait()

    holding = asyncio.create_task(second.database.write(hold))
    await held.wait()
    waiting = asyncio.create_task(storage.write(lambda tx: tx.threads.get("t")))
    admin = await asyncpg.connect(postgres_uri)
    query = "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while not await admin.fetch(query):
        await asyncio.sleep(0.02)
    with pytest.raises(StorageError, match="canceling statement"):
        await waiting
    go_on.set()
    await holding
    await admin.close()
    assert await storage.write(lambda tx: tx.threads.get("t")) is None
    loop.set_exception_handler(None)
    assert told == []


async def test_a_failure_in_the_middle_leaves_nothing(storage):
    async def broken(tx):
        await tx.lineage.put(checkpoint("t", "1"))
        raise OSError("on the way")

    for _ in range(20):
        with pytest.raises(OSError, match="on the way"):
            await storage.write(broken)
    assert await ids(storage, "t") == []


async def test_a_statement_that_failed_fails_the_transaction(storage):
    async def work(tx):
        with pytest.raises(asyncpg.PostgresError):
            await tx.lineage._db.execute("SELECT 1 / 0")

    with pytest.raises(StorageError, match="failed before its end"):
        await storage.write(work)


async def test_texts_may_hold_anything(storage):
    odd = "a\0b\ue000c\ue0000"
    await put(storage, checkpoint(odd, odd, namespace=odd, meta={odd: [odd, "\\u0000"]}, small={odd: 1}))
    await storage.write(
        lambda tx: tx.lineage.put(checkpoint(odd, "2", odd, namespace=odd, early=[(odd, "x" + odd)])), single=True
    )
    several = [writes(odd, "2", (odd, 0, b"1"), namespace=odd), writes(odd, odd, (odd, 0, b"0"), namespace=odd)]
    await asyncio.gather(
        *(storage.write(lambda tx, one=one: tx.lineage.put_writes(one), single=True) for one in several)
    )
    assert await data(storage, odd, "2", odd) == [(odd, 0, b"1")]
    assert await data(storage, odd, odd, odd) == [(odd, 0, b"0")]
    rows = await storage.read(lambda tx: tx.lineage.history(odd, metadata={odd: [odd]}))
    assert [(row.checkpoint_id, row.namespace, row.meta, row.small) for row in rows] == [
        (odd, odd, {odd: [odd, "\\u0000"]}, {odd: 1})
    ]
    assert (await storage.read(lambda tx: tx.lineage.latest(odd, odd))).parent == odd
    assert await storage.read(lambda tx: tx.lineage.history(odd, metadata={odd: ["\\u0001"]})) == []


# --- lost connections ---


async def cut_off(uri):
    """Ends every connection to the database but this one."""
    connection = await asyncpg.connect(uri)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


async def test_what_a_lost_connection_left_undone_is_done_again(storage, postgres_uri):
    await put(storage, checkpoint("t", "1"))
    await cut_off(postgres_uri)
    assert await ids(storage, "t") == ["1"]
    tries = []

    async def work(tx):
        tries.append(1)
        await tx.lineage.put(checkpoint("t", "2", "1"))
        if len(tries) == 1:
            await cut_off(postgres_uri)
            await tx.lineage.put(checkpoint("t", "3", "2"))

    await storage.write(work)
    assert len(tries) == 2
    assert await ids(storage, "t") == ["2", "1"]
    await cut_off(postgres_uri)
    await storage.write(lambda tx: tx.lineage.put(checkpoint("t", "4", "2")), single=True)
    assert await asyncio.to_thread(storage.read_now, lambda tx: tx.lineage.exists("t"))


async def test_other_loops_and_threads_are_served_while_the_server_s_own_is_blocked(storage):
    done = threading.Event()

    def thread():
        storage.write_now(lambda tx: tx.lineage.put(checkpoint("t", "1")))
        assert storage.read_now(lambda tx: tx.lineage.exists("t"))
        asyncio.run(put(storage, checkpoint("t", "2", "1")))
        done.set()

    worker = threading.Thread(target=thread)
    worker.start()
    assert done.wait(20)  # the loop is blocked all the while
    worker.join()
    assert await ids(storage, "t") == ["2", "1"]


async def test_a_closed_storage_refuses(storage):
    await storage.close()
    with pytest.raises(StorageError, match="closed"):
        await asyncio.to_thread(storage.read_now, lambda tx: tx.lineage.exists("t"))
    with pytest.raises(StorageError, match="closed"):
        await ids(storage, "t")
    await storage.open()


# --- freeing ---


async def emptied(storage):
    """Waits until nothing of the lineage is left."""
    tables = ("segments", "heads", "checkpoints", "writes", "blobs", "run_spans", "dead_segments")
    deadline = time.monotonic() + 120
    while left := {table: n for table in tables if (n := rows_of(storage, f"SELECT count(*) FROM {table}")[0][0])}:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.01)


async def test_much_is_freed_bit_by_bit(storage, monkeypatch):
    monkeypatch.setattr(segments, "AT_ONCE", 20)
    monkeypatch.setattr("threadloom.storage.postgres.AT_ONCE", 20)
    await put(storage, *(checkpoint("t", f"{n:03}", f"{n - 1:03}") for n in range(100)))
    await copy(storage, "t", "copy", at="049")
    await storage.write(lambda tx: tx.lineage.delete("t"))
    deadline = time.monotonic() + 120
    while rows_of(storage, "SELECT count(*) FROM checkpoints") != [(50,)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert len(await ids(storage, "copy")) == 50
    await storage.write(lambda tx: tx.lineage.delete("copy"))
    await emptied(storage)


async def test_what_a_process_left_to_be_freed_is_freed_by_the_next(storage, second, monkeypatch):
    monkeypatch.setattr(segments, "AT_ONCE", 20)
    monkeypatch.setattr(storage, "_collect_later", lambda: None)
    await put(storage, *(checkpoint("t", f"{n:03}") for n in range(100)))
    await storage.write(lambda tx: tx.lineage.delete("t"))
    assert rows_of(storage, "SELECT count(*) FROM checkpoints") == [(100,)]
    await second.close()
    await second.open()
    await emptied(storage)


async def test_copies_that_go_at_the_same_moment_leave_nothing(storage, second):
    for _ in range(30):
        await put(storage, *(checkpoint("t", f"{n}") for n in range(3)))
        for name in ("a", "b", "c", "d"):
            await copy(storage, "t", name)
        await copy(storage, "a", "e")
        await asyncio.gather(
            *(
                one.write(lambda tx, name=name: tx.lineage.delete(name))
                for one, name in zip([storage, second] * 3, ["a", "b", "c", "d", "e", "t"], strict=True)
            )
        )
        await emptied(storage)


async def test_copies_are_made_while_all_around_them_goes(storage, second):
    """A copy of a copy keeps what it sees, whatever is deleted, pruned or rolled back at the same moment."""

    async def churn(one, name):
        for round in range(15):
            target = f"{name}-{round}"
            try:
                await copy(one, name, target)
            except ValueError:
                continue
            before = await ids(one, target)
            await put(one, checkpoint(name, f"{target}", run_id=target), checkpoint(target, f"{target}-own"))
            await one.write(lambda tx, target=target: tx.lineage.rollback(name, target))
            await one.write(lambda tx: tx.lineage.prune(name))
            assert (await ids(one, target))[1:] == before
            await one.write(lambda tx, target=target: tx.lineage.delete(target))

    await put(storage, *(checkpoint("root", f"{n}") for n in range(5)))
    names = ["a", "b", "c", "d"]
    for name in names:
        await copy(storage, "root", name)
    await asyncio.gather(
        *(churn(one, name) for one, name in zip([storage, second] * 2, names, strict=True)),
        storage.write(lambda tx: tx.lineage.delete("root")),
    )
    for name in names:
        assert await ids(storage, name) == ["4"]
        await storage.write(lambda tx, name=name: tx.lineage.delete(name))
    await emptied(storage)
