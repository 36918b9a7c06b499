"""Work that is a single put: many of them at the same moment, from any thread, in the order in which they were handed in."""

import asyncio
import threading
import time

import pytest

from tests.contract.test_lineage import checkpoint, claimed, data, ids, put, writes
from tests.storages import kind_of
from threadloom.errors import LostLeaseError, StaleRefsError
from threadloom.storage.lineage import Blob, CheckpointPut

pytestmark = pytest.mark.anyio


def single(storage, item):
    if isinstance(item, CheckpointPut):
        return storage.write(lambda tx: tx.lineage.put(item), single=True)
    return storage.write(lambda tx: tx.lineage.put_writes(item), single=True)


def single_now(storage, item):
    return storage.write_now(lambda tx: tx.lineage.put(item), single=True)


def strand(storage, thread, count, start=0):
    """Checkpoints of a thread, each with a value of its own, and a write under each."""
    items = []
    for number in range(start, start + count):
        blob = Blob(storage.new_blob_id(), "t", f"{thread} {number}".encode())
        parent = f"{number - 1:03}" if number else None
        items.append(checkpoint(thread, f"{number:03}", parent, refs={"x": blob.id}, blobs=[blob], small={"y": 3}))
        items.append(writes(thread, f"{number:03}", ("task", 0, b"%d" % number)))
    return items


async def check(storage, thread, count):
    rows = await storage.read(lambda tx: tx.lineage.history(thread))
    assert [row.checkpoint_id for row in rows] == [f"{number:03}" for number in reversed(range(count))]
    for number, row in zip(reversed(range(count)), rows, strict=True):
        assert row.blobs[row.refs["x"]].data == f"{thread} {number}".encode()
        assert row.small == {"y": 3}
        assert [(write.idx, write.data) for write in row.writes] == [(0, b"%d" % number)]


async def test_puts_handed_in_at_once_are_stored_in_that_order(storage):
    threads = [f"thread {number}" for number in range(20)]
    strands = [strand(storage, thread, 10) for thread in threads]
    await asyncio.gather(*(single(storage, item) for items in zip(*strands, strict=True) for item in items))
    for thread in threads:
        await check(storage, thread, 10)


async def test_one_thread_may_have_all_of_them(storage):
    await asyncio.gather(*(single(storage, item) for item in strand(storage, "t", 150)))
    await check(storage, "t", 150)


async def test_what_was_early_stands_after_its_checkpoint(storage):
    await asyncio.gather(
        single(storage, writes("t", "1", ("fast", 0, b"result"))),
        single(storage, checkpoint("t", "inner", namespace="inner:1")),
        single(storage, checkpoint("t", "1", early=[("inner:1", "inner")])),
        single(storage, checkpoint("u", "1", early=[])),
    )
    await storage.write(lambda tx: tx.lineage.copy("t", "cut", at="1"))
    assert await ids(storage, "cut") == ["1"]
    assert await data(storage, "cut", "1") == []
    assert await ids(storage, "t") == ["inner", "1"]
    assert await data(storage, "t", "1") == [("fast", 0, b"result")]


async def test_one_that_is_refused_takes_no_other_along(storage):
    run = await claimed(storage)
    await put(storage, checkpoint("stale", "1"))
    done = await asyncio.gather(
        single(storage, checkpoint("t", "1", run_id="run", fence=run.fence)),
        single(storage, checkpoint("lost", "1", run_id="run", fence=run.fence + 1)),
        single(storage, writes("lost", "1", ("task", 0, b""), run_id="run", fence=run.fence + 1)),
        single(storage, checkpoint("stale", "2", "1", era=10**9, refs={"x": 10**9})),
        single(storage, checkpoint("new", "2", "1", era=10**9, refs={"x": 10**9})),
        single(storage, checkpoint("u", "1")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in done] == [
        int,
        LostLeaseError,
        LostLeaseError,
        StaleRefsError,
        StaleRefsError,
        int,
    ]
    assert await ids(storage, "t") == await ids(storage, "u") == await ids(storage, "stale") == ["1"]
    assert await ids(storage, "lost") == await ids(storage, "new") == []


async def test_one_that_cannot_be_stored_takes_no_other_along(storage):
    blob = Blob(storage.new_blob_id(), "t", b"first")
    await put(storage, checkpoint("t", "1", refs={"x": blob.id}, blobs=[blob]))
    done = await asyncio.gather(
        *(single(storage, checkpoint(f"u{number}", "1")) for number in range(5)),
        single(storage, checkpoint("t", "2", "1", refs={"x": blob.id}, blobs=[blob])),  # an id is given once
        *(single(storage, checkpoint(f"v{number}", "1")) for number in range(5)),
        return_exceptions=True,
    )
    assert [isinstance(answer, Exception) for answer in done] == [False] * 5 + [True] + [False] * 5
    assert await ids(storage, "t") == await ids(storage, "u4") == await ids(storage, "v0") == ["1"]


async def test_a_put_stands_although_nobody_waits_for_it_any_more(storage):
    task = asyncio.ensure_future(single(storage, checkpoint("t", "1")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await single(storage, checkpoint("t", "2", "1"))
    assert await ids(storage, "t") == ["2", "1"]


async def test_worker_threads_and_loops_of_their_own_put_too(storage):
    items = strand(storage, "t", 12)

    def from_thread():
        for item in strand(storage, "thread", 30)[::2]:
            single_now(storage, item)

    async def in_loop():
        await asyncio.gather(*(single(storage, item) for item in strand(storage, "loop", 30)))

    jobs = [asyncio.to_thread(from_thread), asyncio.to_thread(lambda: asyncio.run(in_loop()))]
    await asyncio.gather(*jobs, *(single(storage, item) for item in items))
    await check(storage, "t", 12)
    await check(storage, "loop", 30)
    assert len(await ids(storage, "thread")) == 30


async def test_a_blocked_event_loop_holds_up_no_other_thread(storage):
    """Not even one that puts on a thread that the blocked loop has a put on its way for."""
    await single(storage, checkpoint("t", "0"))
    on_its_way = asyncio.ensure_future(single(storage, checkpoint("t", "1", "0")))
    for _ in range(3):
        await asyncio.sleep(0)
    done = threading.Event()

    def aside():
        single_now(storage, checkpoint("t", "2", "0"))
        single_now(storage, checkpoint("u", "1"))
        assert storage.read_now(lambda tx: tx.lineage.latest("u", "")).checkpoint_id == "1"
        done.set()

    thread = threading.Thread(target=aside)
    thread.start()
    began = time.monotonic()
    assert done.wait(20)  # the loop is blocked all the while
    assert time.monotonic() - began < 15
    thread.join()
    await on_its_way
    assert sorted(await ids(storage, "t")) == ["0", "1", "2"]


async def test_single_work_is_one_put(storage):
    with pytest.raises(Exception, match="single") if kind_of(storage) == "postgres" else pytest.raises(KeyError):
        await storage.write(lambda tx: tx.lineage.copy("t", "u", at="1"), single=True)
