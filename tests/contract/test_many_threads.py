"""Work on very many threads at once, on a database that has room for few locks."""

import pytest

from tests import postgres_server
from tests.clocks import ManualClock
from tests.contract.test_lineage import checkpoint, ids, put
from tests.contract.test_runs import run
from tests.contract.test_threads import thread
from tests.storages import rows_of
from threadloom.checkpointer import Saver
from threadloom.engine.admission import NoStarter, admit
from threadloom.errors import Conflict
from threadloom.services import cascade_delete
from threadloom.services.cascade_delete import CascadeDeleteService
from threadloom.storage.threads import ThreadQuery
from threadloom.types import Caller, ForkedFrom

pytestmark = pytest.mark.anyio

MANY = 1000
NAMES = [f"t{number}" for number in range(MANY)]
ANN = Caller(user_id="ann", user=object())


@pytest.fixture(scope="module")
def postgres_uri():
    """A PostgreSQL with room for some hundred locks, where the default has room for 6,400."""
    few = {
        "autovacuum": "off",
        "autovacuum_worker_slots": 1,
        "max_connections": 40,
        "max_locks_per_transaction": 10,
        "max_wal_senders": 0,
        "max_worker_processes": 0,
    }
    with postgres_server.running(
        *(word for item in few.items() for word in ("-c", "=".join(map(str, item))))
    ) as server:
        yield server.uri


async def in_portions(storage, work, names=NAMES):
    """Calls `work(tx, name)` for each name."""

    async def portion(tx, some):
        for name in some:
            await work(tx, name)

    for start in range(0, len(names), 100):
        await storage.write(lambda tx, some=names[start : start + 100]: portion(tx, some))


async def made(storage, source=None):
    """Threads with a checkpoint each: copies of one, if that is named."""
    fork = source and ForkedFrom(thread_id=source, checkpoint_id=None, at=1)

    async def make(tx, name):
        await tx.threads.insert(thread(name, forked_from=fork))
        if source is not None:
            await tx.lineage.copy(source, name)
        await tx.lineage.put(checkpoint(name, f"{name}-own", meta={"run_id": "r"}, run_id=f"r{len(name)}"))

    await in_portions(storage, make)


async def count(storage):
    return await storage.read(lambda tx: tx.threads.count(ThreadQuery()))


class Willing:
    """Permits everything."""

    async def ask(self, caller, resource, action, value):
        return None


def eraser(storage, stop=None):
    async def nothing_runs(thread_id):
        return

    return CascadeDeleteService(
        storage=storage, guard=Willing(), clock=ManualClock(), stop_runs=stop or nothing_runs, gone=lambda _: None
    )


async def family(storage):
    await storage.write(lambda tx: tx.threads.insert(thread("source")))
    await put(storage, checkpoint("source", "shared"))
    await made(storage, source="source")


async def test_a_thread_goes_with_thousands_of_copies(storage, lineage_tables):
    await family(storage)
    await storage.write(lambda tx: tx.threads.insert(thread("other")))
    erased = await eraser(storage).delete_with_copies(ANN, "source")
    assert sorted(erased) == sorted(["source", *NAMES])
    assert await count(storage) == 1
    assert rows_of(storage, "SELECT count(*) FROM forks") == [(0,)]
    assert set(lineage_tables.counts().values()) == {0}


async def test_a_thousand_copies_are_made_at_once(storage):
    await storage.write(lambda tx: tx.threads.insert(thread("source", values_json=b"1")))
    await put(storage, checkpoint("source", "shared"))

    async def work(tx):
        newest = await tx.lineage.copy_many("source", NAMES)
        record = thread("", forked_from=ForkedFrom(thread_id="source", checkpoint_id=newest, at=1))
        await tx.threads.insert_copies(record, {name: {"n": name} for name in NAMES}, state_of="source")

    await storage.write(work)
    assert sorted(await storage.read(lambda tx: tx.threads.copies("source"))) == sorted(NAMES)
    assert await ids(storage, NAMES[0]) == await ids(storage, NAMES[-1]) == ["shared"]


async def test_copies_made_meanwhile_go_too(storage, lineage_tables, monkeypatch):
    monkeypatch.setattr(cascade_delete, "AT_ONCE", 10)
    names = NAMES[:35]
    await storage.write(lambda tx: tx.threads.insert(thread("source")))
    fork = ForkedFrom(thread_id="source", checkpoint_id=None, at=1)
    await in_portions(storage, lambda tx, name: tx.threads.insert(thread(name, forked_from=fork)), names)
    late = iter(["late1", "late2"])

    async def copied_while_runs_are_stopped(thread_id):
        if thread_id == "t7" and (name := next(late, None)):
            await storage.write(lambda tx: tx.threads.insert(thread(name, forked_from=fork)))

    erased = await eraser(storage, copied_while_runs_are_stopped).delete_with_copies(ANN, "source")
    assert sorted(erased) == sorted(["source", *names, "late1"])
    assert await count(storage) == 0


async def test_the_thread_itself_goes_last(storage, monkeypatch):
    """So whoever is refused half-way, because something always runs there, asks again and nothing is forgotten."""
    monkeypatch.setattr(cascade_delete, "AT_ONCE", 10)
    monkeypatch.setattr(cascade_delete, "LOOKS", 3)
    names = NAMES[:35]
    await storage.write(lambda tx: tx.threads.insert(thread("source")))
    fork = ForkedFrom(thread_id="source", checkpoint_id=None, at=1)
    await in_portions(storage, lambda tx, name: tx.threads.insert(thread(name, forked_from=fork)), names)
    await storage.write(lambda tx: tx.runs.insert(run("r", names[3])))
    with pytest.raises(Conflict, match="in use all the time"):
        await eraser(storage).delete_with_copies(ANN, "source")
    assert await storage.read(lambda tx: tx.threads.get("source")) is not None
    assert await storage.read(lambda tx: tx.threads.get(names[3])) is not None
    await storage.write(lambda tx: tx.runs.delete("r"))
    await eraser(storage).delete_with_copies(ANN, "source")
    assert await count(storage) == 0


@pytest.mark.parametrize("strategy", ["keep_latest", "delete"])
async def test_a_saver_prunes_thousands_of_threads(storage, lineage_tables, strategy):
    await made(storage)
    await in_portions(storage, lambda tx, name: tx.lineage.put(checkpoint(name, f"{name}-new")))
    await Saver(storage).aprune(NAMES, strategy=strategy)
    assert await ids(storage, NAMES[-1]) == ([f"{NAMES[-1]}-new"] if strategy == "keep_latest" else [])
    assert lineage_tables.counts()["checkpoints"] == (MANY if strategy == "keep_latest" else 0)


async def test_a_saver_deletes_thousands_of_runs(storage, lineage_tables):
    await in_portions(
        storage, lambda tx, name: tx.lineage.put(checkpoint(name, f"{name}-c", meta={"run_id": name}, run_id=name))
    )
    await put(storage, checkpoint("kept", "c"))
    await Saver(storage).adelete_for_runs(NAMES)
    assert lineage_tables.counts()["checkpoints"] == 1


async def test_a_batch_makes_a_thousand_runs(storage):
    """Each on a thread of its own that nobody knows of yet."""

    async def batch(tx):
        for name in NAMES:
            await tx.threads.insert(thread(name), fresh=True)
            await admit(tx, run(f"r-{name}", name), NoStarter(), keep=0)

    await storage.write(batch)
    assert len(await storage.read(lambda tx: tx.runs.busy_threads())) == MANY


async def test_lost_runs_are_taken_up_some_at_a_time(storage):
    await in_portions(storage, lambda tx, name: tx.runs.insert(run(f"r-{name}", name)))
    for _ in range(MANY // 100):
        await storage.write(lambda tx: tx.runs.claim("gone", 100, 1, 100))
    found = 0

    async def take_up(tx):
        lost = await tx.runs.still_held(await tx.runs.leases())
        for one in lost:
            await tx.runs.requeue(one.run_id, attempt=one.attempt)
        return len(lost)

    while taken := await storage.write(take_up):
        found += taken
    assert found == MANY
