"""Much that handlers encrypt, in one transaction: they are asked for all of it at once, whatever the number."""

import asyncio

import msgspec
import pytest
from langgraph.store.base import GetOp, PutOp

from tests.clocks import ManualClock
from tests.contract.test_runs import run
from tests.contract.test_threads import thread
from tests.encryptions import reversing, with_handlers
from tests.storages import KINDS, opened
from threadloom.engine.admission import NoStarter, admit
from threadloom.errors import Conflict
from threadloom.storage.threads import ThreadQuery
from threadloom.store import Store
from threadloom.types import Item

pytestmark = pytest.mark.anyio

MANY = 1200


class Counted:
    """A storage around another that counts transactions."""

    def __init__(self, inner):
        self._inner = inner
        self.transactions = 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def write(self, work, **how):
        self.transactions += 1
        return await self._inner.write(work, **how)

    async def read(self, work, **how):
        self.transactions += 1
        return await self._inner.read(work, **how)


def item(key, value):
    return Item(
        namespace=("n",),
        key=key,
        value_json=msgspec.json.encode(value),
        created_at=1,
        updated_at=1,
        ttl_minutes=None,
        expires_at=None,
    )


@pytest.fixture(params=KINDS)
async def sealed(request, tmp_path):
    """A storage with handlers, how often they are called, and the count of its transactions."""
    async with opened(request.param, request, tmp_path / "data") as bare:
        calls = []
        counted = Counted(bare)
        storage = with_handlers(counted, reversing(calls))
        storage._home = asyncio.get_running_loop()
        yield storage, counted, calls


async def test_thousands_of_items_are_put_and_read_at_once(sealed):
    storage, counted, calls = sealed
    store = Store(storage, clock=ManualClock())
    places = [(("n",), f"k{number}") for number in range(MANY)]
    await store.abatch([PutOp(namespace, key, {"text": key}) for namespace, key in places])
    assert (len(calls), counted.transactions) == (MANY, 2)
    found = await store.abatch([GetOp(namespace, key) for namespace, key in places])
    assert [item.value for item in found] == [{"text": key} for _, key in places]
    assert counted.transactions <= 5


async def test_a_batch_of_thousands_of_runs_is_made_at_once(sealed):
    storage, counted, _ = sealed

    async def batch(tx):
        for number in range(MANY):
            await tx.threads.insert(thread(f"t{number}", metadata={"number": number}), fresh=True)
            await admit(
                tx,
                run(f"r{number}", f"t{number}", metadata={"n": number}, kwargs={"input": {"n": number}}),
                NoStarter(),
                keep=0,
            )

    await storage.write(batch)
    assert counted.transactions == 2
    [one] = await storage.read(lambda tx: tx.runs.of_thread("t7"))
    assert one.kwargs["input"] == {"n": 7}
    assert len(await storage.read(lambda tx: tx.threads.search(ThreadQuery(limit=10_000)))) == MANY


async def test_what_a_transaction_stored_it_reads_as_it_was(sealed):
    storage, _, calls = sealed

    async def work(tx):
        await tx.threads.insert(thread("t", metadata={"mark": "secret"}, values_json=b'{"a":1}'))
        found = await tx.threads.get("t")
        await tx.threads.update("t", metadata={**found.metadata, "more": 1})
        return found.metadata, found.values_json

    assert await storage.write(work) == ({"mark": "secret"}, b'{"a":1}')
    assert (await storage.read(lambda tx: tx.threads.get("t"))).metadata == {"mark": "secret", "more": 1}
    assert ("encrypt json", "thread", "metadata") in {call[:3] for call in calls}


async def test_an_error_that_comes_of_a_missing_answer_is_none(sealed):
    storage, _, _ = sealed
    await storage.write(lambda tx: tx.items.put(item("k", {"n": 1}), (), 1))
    seen = []

    async def strict(tx):
        found = await tx.items.get(("n",), "k", 1)
        seen.append(found.value_json)
        if found.value_json != b'{"n":1}':
            raise Conflict("that is not what was stored")
        await tx.items.put(item("other", {"n": 2}), (), 1)

    await storage.write(strict)
    assert seen[-1] == b'{"n":1}' and len(seen) > 1

    async def refusing(tx):
        await tx.items.put(item("refused", {"n": 3}), (), 1)
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        await storage.write(refusing)
    assert await storage.read(lambda tx: tx.items.get(("n",), "refused", 1)) is None
