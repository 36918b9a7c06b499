"""What is handed in and not waited for: in its order, seen by whoever reads, committed with what follows or soon by itself."""

import asyncio
import threading

import pytest

from tests.contract.test_lineage import checkpoint
from tests.contract.test_threads import thread
from tests.storages import opened
from threadloom.storage.sqlite import database

pytestmark = pytest.mark.anyio


def put(checkpoint_id, parent=None):
    async def work(tx):
        await tx.lineage.put(checkpoint("t", checkpoint_id, parent))

    return work


async def nothing(tx):
    pass


def ignore(error):
    """Nobody cares what went wrong."""


def ids(rows):
    return [row.checkpoint_id for row in rows]


async def history(storage):
    return ids(await storage.read(lambda tx: tx.lineage.history("t")))


@pytest.fixture
def patient(monkeypatch):
    """Nothing is committed by itself."""
    monkeypatch.setattr(database, "DEFERRED_SECONDS", 600)


@pytest.fixture(params=["plain", "AES"])
async def storage(request, tmp_path):
    """The storages that can do it."""
    async with opened("sqlite", request, tmp_path, request.param) as storage:
        yield storage


@pytest.mark.parametrize(("kind", "cipher"), [("postgres", "plain"), ("postgres", "AES"), ("sqlite", "handlers")])
async def test_where_it_cannot_be_had_nothing_is_handed_in(kind, cipher, request, tmp_path):
    async with opened(kind, request, tmp_path, cipher) as storage:
        assert storage.defer(put("1"), ignore) is None
        assert await history(storage) == []


async def test_whoever_reads_sees_it(storage, patient):
    done = storage.defer(put("1"), ignore)
    assert not done.done()
    assert await history(storage) == ["1"]
    assert done.done()
    storage.defer(put("2", "1"), ignore)
    assert await asyncio.to_thread(lambda: ids(storage.read_now(lambda tx: tx.lineage.history("t")))) == ["2", "1"]
    storage.defer(put("3", "2"), ignore)
    assert ids(await storage.read(lambda tx: tx.lineage.history("t"), heavy=True)) == ["3", "2", "1"]


@pytest.mark.parametrize("heavy", [False, True])
async def test_the_next_commit_takes_it_along(storage, patient, heavy):
    dones = [storage.defer(put("1"), ignore), storage.defer(put("2", "1"), ignore)]
    await storage.write(put("3", "2"), heavy=heavy)
    async with asyncio.timeout(30):
        await asyncio.gather(*dones)
    assert await history(storage) == ["3", "2", "1"]


async def test_what_another_thread_writes_comes_after_it(storage, patient):
    """A node that is a plain function stores what builds on what its graph has handed in."""
    storage.defer(put("1"), ignore)
    storage.defer(put("2", "1"), ignore)
    await asyncio.to_thread(storage.write_now, put("3", "2"))
    storage.defer(put("4", "3"), ignore)
    await asyncio.to_thread(storage.write_now, put("5", "4"))
    positions = [row.pos for row in await storage.read(lambda tx: tx.lineage.history("t"))]
    assert await history(storage) == ["5", "4", "3", "2", "1"]
    assert positions == sorted(positions, reverse=True)


async def test_the_order_holds_while_the_writers_thread_is_busy(storage, patient):
    busy, go_on = threading.Event(), threading.Event()

    async def slow(tx):
        busy.set()
        go_on.wait(30)

    work = asyncio.create_task(storage.write(slow, heavy=True))
    await asyncio.to_thread(busy.wait, 30)
    storage.defer(put("1"), ignore)
    written = asyncio.create_task(storage.write(put("2", "1")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    storage.defer(put("3", "2"), ignore)
    assert await history(storage) == []  # the event loop does not wait for the thread
    last = storage.defer(put("4", "3"), ignore)
    go_on.set()
    async with asyncio.timeout(30):
        await asyncio.gather(work, written)
        await storage.write(nothing)
        await last
    rows = await storage.read(lambda tx: tx.lineage.history("t"))
    assert ids(rows) == ["4", "3", "2", "1"]
    assert [row.pos for row in rows] == sorted((row.pos for row in rows), reverse=True)


async def test_it_is_committed_by_itself(storage):
    async with asyncio.timeout(30):
        await storage.defer(put("1"), ignore)
    assert await history(storage) == ["1"]


async def test_many_do_not_wait_for_the_time_to_pass(storage, patient):
    dones = [storage.defer(put(f"{number:04}"), ignore) for number in range(1000)]
    async with asyncio.timeout(60):
        await dones[0]
        await storage.write(nothing)
        await asyncio.gather(*dones)
    assert len(await history(storage)) == 1000


async def test_one_that_fails_takes_no_other_with_it_and_is_told_before_the_next(storage, patient):
    told = []

    async def fails(tx):
        await tx.threads.insert(thread("gone"))
        raise ValueError("no")

    async def looks(tx):
        told.append("next")

    first = storage.defer(put("1"), ignore)
    failed = storage.defer(fails, told.append)
    last = storage.defer(put("2", "1"), ignore)
    storage.defer(looks, ignore)
    await storage.write(nothing)
    assert await asyncio.gather(first, failed, last) == [None, None, None]
    assert [str(one) for one in told] == ["no", "next"]
    assert await history(storage) == ["2", "1"]
    assert await storage.read(lambda tx: tx.threads.get("gone")) is None


async def test_more_than_one_commit_takes_is_seen_and_not_overtaken(storage, patient):
    for number in range(150):
        storage.defer(put(f"{number:03}"), ignore)
    last = asyncio.create_task(storage.write(put("last"), heavy=True))
    assert len(await history(storage)) in (150, 151)
    await last
    assert (await history(storage))[0] == "last"


async def test_what_may_change_very_much_is_committed_alone(request, tmp_path, monkeypatch):
    """What undoes one operation of several is kept in memory."""
    sizes = {}
    commit = database.SqliteDatabase._commit

    def noted(self, batch):
        sizes.update(
            (job.operation.__name__, len(batch)) for job in batch if job.operation.__name__ in ("big", "small")
        )
        return commit(self, batch)

    monkeypatch.setattr(database.SqliteDatabase, "_commit", noted)
    base = database.SqliteDatabase(tmp_path / "x.db")
    base.start()
    hold = threading.Event()

    def big(connection):
        return "big"

    def small(connection):
        return "small"

    try:
        first = base.submit(lambda connection: hold.wait(30))
        rest = [base.submit(small), base.submit(small), base.submit(big, heavy=True), base.submit(small)]
        hold.set()
        assert [one.result(30) for one in (first, *rest)] == [True, "small", "small", "big", "small"]
    finally:
        base.close()
    assert sizes["big"] == 1


async def test_closing_commits_it(request, tmp_path, patient):
    async with opened("sqlite", request, tmp_path) as storage:
        storage.defer(put("1"), ignore)
    async with opened("sqlite", request, tmp_path) as storage:
        assert await history(storage) == ["1"]


async def test_other_event_loops_cannot_have_it(storage):
    async def elsewhere():
        return storage.defer(put("1"), ignore)

    assert await asyncio.to_thread(asyncio.run, elsewhere()) is None


async def test_a_database_that_waits_for_the_disk_cannot_have_it(tmp_path):
    storage = database.SqliteDatabase(tmp_path / "x.db", synchronous="full")
    storage.start()
    try:
        assert storage.defer(lambda connection: None, ignore) is None
    finally:
        storage.close()
