"""Copying costs the same whatever the length of the history: counted, not timed."""

import re

import pytest

from tests.storages import opened
from threadloom.storage.drive import drive
from threadloom.storage.lineage import Blob, CheckpointPut, PendingWrite, WritesPut

pytestmark = pytest.mark.anyio

LENGTHS = (10, 1_000, 100_000)


@pytest.fixture
async def storage(request, tmp_path):
    """SQLite's, whose statements and pages can be counted. (PostgreSQL: tests/contract/test_copy_cost_postgres.py.)"""
    async with opened("sqlite", request, tmp_path) as storage:
        yield storage


async def build(storage, thread, length):
    """A thread of `length` checkpoints, each with a big value and pending writes."""

    async def work(tx):
        parent = None
        for number in range(length):
            checkpoint_id = f"{number:09d}"
            blob = Blob(storage.new_blob_id(), "t", b"x" * 100)
            await tx.lineage.put(
                CheckpointPut(
                    thread_id=thread,
                    namespace="",
                    checkpoint_id=checkpoint_id,
                    parent=parent,
                    body_type="t",
                    body=b"{}",
                    refs={"messages": blob.id},
                    blobs=[blob],
                    meta=b'{"step": %d}' % number,
                )
            )
            write = PendingWrite("task", 0, "messages", "t", b"y", "")
            await tx.lineage.put_writes(
                WritesPut(thread_id=thread, namespace="", checkpoint_id=checkpoint_id, writes=[write])
            )
            parent = checkpoint_id

    await storage.write(work)


class Cost:
    """Statements (without their values), rows changed, and pages of the file newly used by work on the writer."""

    def __init__(self, storage, work):
        def measure(connection):
            statements = []
            before = self.numbers(connection)
            connection.set_trace_callback(statements.append)
            try:
                drive(work, storage._tx(connection))
            finally:
                connection.set_trace_callback(None)
            self.rows, self.pages = (now - then for now, then in zip(self.numbers(connection), before, strict=True))
            self.statements = [re.sub(r"'[^']*'|\d+", "?", statement) for statement in statements]

        storage.database.submit(measure).result()

    def numbers(self, connection):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        return connection.total_changes, pages - connection.execute("PRAGMA freelist_count").fetchone()[0]


def copies(thread, count, at=None):
    async def work(tx):
        for number in range(count):
            await tx.lineage.copy(thread, f"{thread}-{at}-{count}-{number:05d}", at=at)

    return work


async def test_a_copy_costs_the_same_at_any_length(storage):
    whole, cut, many, many_cut = [], [], [], []
    for length in LENGTHS:
        thread = f"thread-{length:09d}"
        await build(storage, thread, length)
        middle = f"{length // 2:09d}"
        whole.append(Cost(storage, copies(thread, 1)))
        cut.append(Cost(storage, copies(thread, 1, middle)))
        many.append(Cost(storage, copies(thread, 1000)).pages)
        many_cut.append(Cost(storage, copies(thread, 1000, middle)).pages)
        copied = await storage.read(lambda tx, name=f"{thread}-None-1-00000": tx.lineage.latest(name, ""))
        assert copied.checkpoint_id == f"{length - 1:09d}"

    for costs in (whole, cut):
        assert costs[0].rows == 2  # one segment, one head
        for cost in costs[1:]:
            assert cost.statements == costs[0].statements
            assert cost.rows == costs[0].rows
            assert cost.pages <= 2
    for pages in (many, many_cut):
        assert max(pages) <= min(pages) + 8, "a thousand copies take as many pages whatever they show"
        assert max(pages) * 4096 / 1000 < 300


async def test_nor_does_it_matter_how_many_copies_there_are(storage):
    await build(storage, "source", 50)
    await storage.write(copies("source", 3))  # the source's edge is known from here on
    first = Cost(storage, copies("source", 1))
    await storage.write(copies("source", 10_000))
    last = Cost(storage, copies("source", 1, "000000049"))
    again = Cost(storage, copies("source", 2))
    assert last.rows == first.rows
    assert again.rows == 2 * first.rows
    assert again.statements == 2 * first.statements


async def test_an_untouched_copy_of_a_copy_adds_no_depth(storage):
    """Statements of reading the newest checkpoint: as many after a hundred generations as after one."""
    await build(storage, "generation-0", 10)
    for number in range(100):
        await storage.write(lambda tx, n=number: tx.lineage.copy(f"generation-{n}", f"generation-{n + 1}"))
    for _ in range(2):  # the second time all edges are known
        near, far = (Cost(storage, lambda tx, n=n: tx.lineage.latest(f"generation-{n}", "")) for n in (1, 100))
    assert near.statements == far.statements
