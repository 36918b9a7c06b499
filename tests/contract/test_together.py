"""Several at once on one thread, assistant, cron or log: what comes out is as if one had come after the other."""

import asyncio
import itertools
import random

import msgspec
import pytest

from tests.contract.test_assistants import assistant
from tests.contract.test_crons import cron
from tests.contract.test_lineage import checkpoint, writes
from tests.contract.test_runs import claim, put, run
from tests.contract.test_threads import copy_of, thread
from tests.storages import rows_of
from threadloom.engine.admission import NoStarter, admit
from threadloom.engine.removal import remove_thread
from threadloom.errors import Conflict
from threadloom.storage.lineage import Blob
from threadloom.types import Event

pytestmark = pytest.mark.anyio


async def all_at_once(*work):
    """What each gave, or the error it raised."""
    return await asyncio.gather(*work, return_exceptions=True)


def event(n, ms=1, thread_id="t"):
    return Event(thread_id=thread_id, run_id="r", name="values", mode="values", data=b"{}", ms=ms, n=n)


async def test_of_many_runs_that_want_a_thread_for_themselves_one_gets_it(storage):
    await storage.write(lambda tx: tx.threads.insert(thread("t")))

    async def start(number):
        wanted = msgspec.structs.replace(run(f"r{number}"), multitask_strategy="reject")
        await storage.write(lambda tx: admit(tx, wanted, NoStarter(), keep=0))

    outcomes = await all_at_once(*(start(number) for number in range(12)))
    assert [type(one) for one in outcomes if one is not None] == [Conflict] * 11
    assert len(await storage.read(lambda tx: tx.runs.active("t"))) == 1
    assert (await storage.read(lambda tx: tx.threads.get("t"))).status == "busy"


async def test_a_run_that_is_claimed_is_not_ended_as_pending(storage):
    """Interrupting a thread and claiming its runs: each run is either asked to stop or ended, and none is forgotten."""
    for round in range(10):
        await storage.write(lambda tx, t=f"t{round}": tx.threads.insert(thread(t)))
        await put(storage, run(f"old{round}", f"t{round}"))

    async def interrupt(round):
        wanted = msgspec.structs.replace(run(f"new{round}", f"t{round}"), multitask_strategy="interrupt")
        return await storage.write(lambda tx: admit(tx, wanted, NoStarter(), keep=0))

    admitted, claimed = [], []
    for round in range(10):
        one, two = await all_at_once(interrupt(round), claim(storage, limit=1))
        admitted.append(one)
        claimed += two
    taken = {one.run_id for one in claimed}
    for round, one in enumerate(admitted):
        old = await storage.read(lambda tx, r=f"old{round}": tx.runs.get(r))
        if one.cancel:
            assert (old.status, old.cancel, old.run_id in taken) == ("running", "interrupt", True)
        else:
            assert (old.status, old.run_id in taken) == ("interrupted", False)


async def test_a_thread_is_made_once(storage):
    made = await all_at_once(
        *(storage.write(lambda tx: tx.threads.insert(thread("t", values_json=b"1"))) for _ in range(8))
    )
    assert sorted(made) == [False] * 7 + [True]
    assert rows_of(storage, "SELECT count(*) FROM states") == [(1,)]


async def test_a_state_that_many_share_goes_with_the_last_of_them(storage):
    for _ in range(5):
        names = [f"t{number}" for number in range(6)]
        await storage.write(lambda tx: tx.threads.insert(thread("t0", values_json=b"1")))
        metadata = {name: {} for name in names[1:]}
        await storage.write(lambda tx, of=metadata: tx.threads.insert_copies(copy_of("t0", ""), of, state_of="t0"))

        def replace(name):
            return storage.write(
                lambda tx: tx.threads.set_state(name, values_json=name.encode(), interrupts_json=None, error=None)
            )

        await all_at_once(*(replace(name) for name in names[:3]))
        await all_at_once(*(storage.write(lambda tx, name=name: tx.threads.delete(name)) for name in names))
        assert rows_of(storage, "SELECT count(*) FROM states") == [(0,)]
        assert rows_of(storage, "SELECT count(*) FROM forks") == [(0,)]


async def test_a_cron_is_fired_by_one(storage):
    await storage.write(lambda tx: tx.crons.insert(cron("c", next_run_date=10)))

    def fire():
        return storage.write(lambda tx: tx.crons.advance("c", expected=10, following=20))

    assert sorted(await all_at_once(*(fire() for _ in range(10)))) == [False] * 9 + [True]


async def test_changes_of_an_assistant_build_on_each_other(storage):
    await storage.write(lambda tx: tx.assistants.insert(assistant("a")))

    async def patch(tx, number):
        await tx.assistants.lock("a")
        found = await tx.assistants.get("a")
        found.metadata[str(number)] = True
        return (await tx.assistants.add_version(found)).version

    numbers = await all_at_once(*(storage.write(lambda tx, n=n: patch(tx, n)) for n in range(8)))
    assert sorted(numbers) == list(range(2, 10))
    found = await storage.read(lambda tx: tx.assistants.get("a"))
    assert found.metadata == {str(number): True for number in range(8)}


async def test_a_log_has_no_gaps_however_many_write_to_it(storage):
    async def tell(process):
        for number in range(0, 40, 4):
            batch = [event(number + n, ms=process) for n in range(4)]
            stored = await storage.write(lambda tx, batch=batch: tx.events.append(batch))
            first = stored[0].seq
            assert [one.seq for one in stored] == list(range(first, first + 4))

    await asyncio.gather(*(tell(process) for process in range(1, 6)))
    stored = await storage.read(lambda tx: tx.events.of_thread("t", limit=999))
    assert [one.seq for one in stored] == list(range(1, 201))


async def test_whatever_happens_at_once_to_a_few_threads_and_their_copies_leaves_nothing_loose(storage, lineage_tables):
    threads = [f"t{number}" for number in range(4)]
    numbers = itertools.count()
    copies = []
    for name in threads:
        await storage.write(lambda tx, name=name: tx.threads.insert(thread(name)))

    async def one(chance, number):
        thread_id, run_id = chance.choice([*threads, *copies]), f"r{chance.randrange(12)}"

        async def put(tx):
            blob = Blob(storage.new_blob_id(), "t", b"value")
            fields = {"run_id": run_id, "meta": {"run_id": run_id}, "refs": {"x": blob.id}, "blobs": [blob]}
            await tx.lineage.put(checkpoint(thread_id, f"c{number}", namespace=chance.choice(["", "inner"]), **fields))

        async def write(tx):
            task = ("task", chance.choice([0, -1]), b"x")
            await tx.lineage.put_writes(writes(thread_id, f"c{number - chance.randrange(9)}", task, run_id=run_id))

        async def copy(tx):
            target = f"copy{number}"
            source = await tx.threads.get(thread_id)
            await tx.lineage.copy_many(thread_id, [target])
            if source is not None:
                await tx.threads.insert_copies(copy_of(thread_id, ""), {target: {}}, state_of=thread_id)
            else:
                await tx.threads.insert(thread(target))

        async def go(tx):
            await remove_thread(tx, thread_id, now=1)

        async def cut(tx):
            await chance.choice([tx.lineage.rollback, tx.lineage.delete_run])(thread_id, run_id)

        work = chance.choice([put, put, put, write, copy, go, cut, lambda tx: tx.lineage.prune(thread_id)])
        await storage.write(work)
        if work is copy:
            copies.append(f"copy{number}")

    async def worker(seed):
        chance = random.Random(seed)
        for _ in range(40):
            await one(chance, next(numbers))

    await asyncio.gather(*(worker(seed) for seed in range(6)))
    lineage_tables.check()
    for name in {*threads, *copies}:
        await storage.write(lambda tx, name=name: tx.lineage.delete(name))
        await storage.write(lambda tx, name=name: tx.threads.delete(name))
    assert set(lineage_tables.counts().values()) == {0}
    assert rows_of(storage, "SELECT count(*) FROM forks") == [(0,)]
