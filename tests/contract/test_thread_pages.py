"""A page of threads costs the same however many there are, in whatever order it is asked for. Counted, not timed."""

import pytest

from tests.contract.test_history_cost import cost_of
from tests.contract.test_threads import thread
from tests.storages import kind_of
from threadloom.storage.threads import ThreadQuery
from threadloom.types import ForkedFrom

pytestmark = pytest.mark.anyio

SORTS = ("thread_id", "created_at", "updated_at", "state_updated_at")


async def made(storage, numbers):
    async def work(tx):
        for number in numbers:
            status = "interrupted" if number % 2 else "idle"
            await tx.threads.insert(thread(f"t{number:06}", moment=number, status=status, metadata={"kind": "all"}))
        if 0 in numbers:
            fork = ForkedFrom("t000001", None, at=1)
            await tx.threads.insert_copies(thread("", forked_from=fork), {"c1": {}, "c2": {}}, state_of="t000001")

    await storage.write(work)


def pages():
    for sort in SORTS:
        for descending in (True, False):
            yield f"{sort} {descending}", ThreadQuery(sort_by=sort, descending=descending, limit=5)
    yield "status", ThreadQuery(status="interrupted", sort_by="updated_at", limit=5)
    yield "metadata", ThreadQuery(metadata={"kind": "all"}, sort_by="updated_at", limit=5)
    yield "copies", ThreadQuery(forked_from="t000001", sort_by="updated_at", limit=5)
    yield "tree of copies", ThreadQuery(tree_of="t000001", sort_by="updated_at", limit=5)
    yield "ids", ThreadQuery(ids=["t000001", "t000100"], limit=5)


async def test_a_page_costs_the_same_however_many_threads_there_are(storage):
    costs = {}
    for numbers in (range(200), range(200, 3000)):
        await made(storage, numbers)
        if kind_of(storage) == "postgres":
            await storage.database.write(lambda session: session.execute("ANALYZE threads"))
        for name, query in pages():
            cost = await cost_of(storage, lambda tx, query=query: tx.threads.search(query))
            costs.setdefault(name, []).append(cost)
    assert {name: cost for name, cost in costs.items() if cost[1] > 1.5 * cost[0] + 20} == {}
