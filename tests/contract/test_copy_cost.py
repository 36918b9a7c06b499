"""What a copy costs, counted: the same statements, rows and bytes whatever the history. Nothing is timed."""

import pytest

from tests.contract import copied
from threadloom.services.requests import ThreadCopy
from threadloom.storage.sqlite import SqliteStorage
from threadloom.types import SYSTEM

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(tmp_path):
    storage = SqliteStorage(tmp_path / "data")
    await storage.open()
    yield storage
    await storage.close()


ALL = dict.fromkeys(
    ("threads", "forks", "states", "segments", "heads", "checkpoints", "writes", "blobs", "run_spans"), 0
)
ONE_COPY = {"threads": 1, "forks": 1, "segments": 1, "heads": 1}
"""The rows that a copy adds."""


async def thread_of(storage, length):
    """A thread with a history of so many checkpoints, which shows a state of 20 kB."""
    name = f"thread-{length:06}"

    async def work(tx):
        await tx.threads.insert(copied.thread(name))
        parent = None
        for number in range(length):
            put = copied.checkpoint(storage, name, f"{length}-{number:06}", parent)
            await tx.lineage.put(put)
            parent = put.checkpoint_id

    await storage.write(work)
    return name


async def cost_of(storage, thread, count=1, **options):
    """The last copy; statements run, rows changed, and rows added to each table, by one copy or many."""
    statements = []

    def counts(connection):
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ALL}

    def watch(connection):
        connection.set_trace_callback(statements.append)
        return connection.total_changes

    def unwatch(connection):
        connection.set_trace_callback(None)
        return connection.total_changes

    before = storage.database.read(counts)
    changed = -await storage.database.write(watch)
    *_, copy = (await copied.service(storage).copy(SYSTEM, thread, ThreadCopy(count=count, **options))).threads
    changed += await storage.database.write(unwatch)
    after = storage.database.read(counts)
    work = [line.split()[0] for line in statements if line.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    return copy, work, changed, {table: after[table] - before[table] for table in ALL}


async def test_a_copy_costs_the_same_at_any_length(storage):
    costs = []
    for length in (10, 1_000, 100_000):
        thread = await thread_of(storage, length)
        copy, statements, changed, rows = await cost_of(storage, thread)
        history = await storage.read(lambda tx, copy=copy: tx.lineage.history(copy.thread_id, limit=3))
        assert [row.checkpoint_id for row in history] == [
            f"{length}-{number:06}" for number in range(length - 1, length - 4, -1)
        ]
        assert len(copy.values_json) == 20_002
        costs.append((statements, changed, rows))
    assert costs[0] == costs[1] == costs[2]
    statements, _, rows = costs[0]
    assert len(statements) == 7
    assert {table: count for table, count in rows.items() if count} == ONE_COPY


async def test_a_thousand_copies_take_as_many_statements_as_one(storage):
    thread = await thread_of(storage, 10)
    for at in (None, "10-000004"):
        options = {} if at is None else {"checkpoint_id": at}
        _, one, _, _ = await cost_of(storage, thread, **options)
        for count in (2, 10, 1_000):
            copy, statements, _, rows = await cost_of(storage, thread, count, **options)
            assert len(statements) <= len(one) + (2 if at else 0)
            made = {table: number * count for table, number in ONE_COPY.items()} | ({"states": 1} if at else {})
            assert rows == ALL | made
            assert copy.forked_from.checkpoint_id == (at or "10-000009")
            found = await storage.read(lambda tx, copy=copy: tx.lineage.latest(copy.thread_id, ""))
            assert found.checkpoint_id == copy.forked_from.checkpoint_id
            assert await storage.read(lambda tx, copy=copy: tx.threads.get(copy.thread_id)) == copy


async def with_inner(storage, length):
    """A thread whose newest root checkpoint has a subgraph halfway, and one that was edited after later checkpoints."""
    thread = await thread_of(storage, length)
    newest, old = f"{length}-{length - 1:06}", f"{length}-{length // 2:06}"

    async def work(tx):
        await tx.lineage.put(copied.inner_checkpoint(storage, thread, newest))
        await tx.lineage.put(copied.inner_checkpoint(storage, thread, old))

    await storage.write(work)
    return thread, newest, old


async def test_a_copy_inside_a_subgraph_costs_the_same_at_any_length(storage):
    """Whole paths that are stored anew are one row for each graph, once for all copies. No value is stored."""
    found = []
    for length in (10, 1_000):
        thread, newest, old = await with_inner(storage, length)
        for root, more in ((newest, {}), (old, {"segments": 1, "checkpoints": 2})):
            for count in (1, 100):
                copy, statements, _, rows = await cost_of(storage, thread, count, **copied.inside(root))
                made = {table: number * count for table, number in ONE_COPY.items()} | {"states": 1}
                for table, number in more.items():
                    made[table] = made.get(table, 0) + number
                assert rows == ALL | made
                assert copy.forked_from.checkpoint_id == root
                found.append((root == old, count, len(statements)))
    assert found[:4] == found[4:]
    assert len({statements for outdated, _, statements in found if not outdated}) <= 2


async def test_what_is_kept_is_stored_once_for_all_copies(storage):
    thread = await thread_of(storage, 1_000)
    costs = []
    for count in (1, 1, 1_000):  # the first time the edges are read, too
        _, statements, _, rows = await cost_of(storage, thread, count, keep=3)
        made = {table: number * count for table, number in ONE_COPY.items()}
        assert rows == ALL | made | {"segments": count + 1, "checkpoints": 3, "blobs": 3}
        costs.append(len(statements))
    assert costs[1] == costs[2]
