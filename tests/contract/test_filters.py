"""What a caller may see (`storage.filters`) means the same in every storage's queries as in `permits`."""

import asyncio
import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.test_crons import cron
from tests.contract.test_deliveries import delivery
from tests.contract.test_threads import thread
from threadloom.storage.assistants import AssistantQuery
from threadloom.storage.crons import CronQuery
from threadloom.storage.deliveries import DeliveryQuery
from threadloom.storage.filters import AllOf, AnyOf, Contains, Equals, permits
from threadloom.storage.tasks import TaskQuery
from threadloom.storage.threads import ThreadQuery
from threadloom.types import Assistant, Run

pytestmark = pytest.mark.anyio

FIELDS = st.sampled_from(["owner", "team", "n", 'odd"key', "a.b", "ä", "", "o", "$owner", "\0", "\ue000", "\x010"])
SCALARS = (
    st.sampled_from(
        ["ann", "bob", "", 'ann"', "a\\b", "7", "true", "null", '{"x":1}', "[1]", "ä", "\0", "ann\0bob", "\n"]
    )
    | st.sampled_from([7, 7.0, 0, -0.0, 1, 1.5, -3, 2**53, 2**53 + 1, float(2**53), 2**63, 1e300, True, False, None])
    | st.text(max_size=3)
    | st.integers(-(2**63), 2**63 - 1)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=2), max_leaves=4
)
DOCUMENTS = st.dictionaries(FIELDS, VALUES, max_size=4)
LEAVES = st.builds(Equals, FIELDS, VALUES) | st.builds(Contains, FIELDS, st.lists(VALUES, max_size=3))
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.builds(AllOf, st.lists(inner, max_size=3)) | st.builds(AnyOf, st.lists(inner, max_size=3)),
    max_leaves=6,
)
HARSH = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def plain(document):
    """A document as it comes back from where it was stored."""
    return json.loads(json.dumps(document))


def assistant(name, metadata):
    return Assistant(
        assistant_id=name, graph_id="g", version=1, created_at=1, updated_at=1, name=name, metadata=metadata
    )


def run(thread_id):
    return Run(
        run_id=f"run-{thread_id}",
        thread_id=thread_id,
        assistant_id="a",
        status="pending",
        created_at=1,
        updated_at=1,
        metadata={},
        kwargs={"config": {"configurable": {"graph_id": "g"}}},
        multitask_strategy="enqueue",
        due=1,
    )


class Everything:
    """Threads, assistants and crons with the same metadata, so that all queries can be compared with `permits`."""

    def __init__(self, storage, documents):
        self._storage = storage
        self._documents = {f"{number:02}": plain(document) for number, document in enumerate(documents)}

    async def put(self):
        async def work(tx):
            for name, document in self._documents.items():
                await tx.threads.insert(thread(name, metadata=document))
                await tx.assistants.insert(assistant(name, document))
                await tx.crons.insert(cron(name, metadata=document, thread_id=name))
                await tx.runs.insert(run(name))
                await tx.deliveries.insert(delivery(name, thread_id=name, status="failed"))

        await self._storage.write(work)

    async def take(self):
        async def work(tx):
            for name in self._documents:
                await tx.threads.delete(name)
                await tx.assistants.delete(name)
                await tx.crons.delete(name)
                await tx.runs.delete_of_thread(name)
                await tx.deliveries.delete_of_thread(name, 1)

        await self._storage.write(work)

    async def seen(self, where):
        async def work(tx):
            threads, assistants = ThreadQuery(where=where, limit=99), AssistantQuery(where=where, limit=99)
            crons, of_threads = CronQuery(where=where, limit=99), CronQuery(threads=where, limit=99)
            tasks = TaskQuery(assistant_id="a", where=where, limit=99)
            deliveries = DeliveryQuery(threads=where, limit=99)
            found = [
                [one.thread_id for one in await tx.threads.search(threads)],
                [one.assistant_id for one in await tx.assistants.search(assistants)],
                [one.cron_id for one in await tx.crons.search(crons)],
                [one.cron_id for one in await tx.crons.search(of_threads)],
                [one.run.thread_id for one in await tx.tasks.search(tasks)],
                [one.thread_id for one in await tx.deliveries.search(deliveries)],
            ]
            counts = [
                await tx.threads.count(threads),
                await tx.assistants.count(assistants),
                await tx.crons.count(crons),
                await tx.crons.count(of_threads),
                await tx.tasks.count(tasks),
                await tx.deliveries.count(deliveries),
            ]
            assert counts == [len(one) for one in found]
            return [sorted(one) for one in found]

        return await self._storage.read(work)

    def permitted(self, where):
        return [name for name, document in self._documents.items() if permits(where, document)]


@contextlib.asynccontextmanager
async def stored(storage, documents):
    everything = Everything(storage, documents)
    await everything.put()
    try:
        yield everything
    finally:
        await everything.take()


async def test_a_query_shows_exactly_what_the_filter_permits(storage):
    loop = asyncio.get_running_loop()

    @HARSH
    @given(st.lists(DOCUMENTS, min_size=1, max_size=6), st.lists(FILTERS, min_size=1, max_size=6))
    def hold(documents, filters):
        async def compare():
            async with stored(storage, documents) as everything:
                for where in filters:
                    expected = everything.permitted(where)
                    for seen in await everything.seen(where):
                        assert seen == expected, where

        asyncio.run_coroutine_threadsafe(compare(), loop).result()

    await asyncio.to_thread(hold)


SHARED = {"team": "blue", "people": ["ann", "bea"], "n": 1, "o": {"x": 1}, "nothing": None, "yes": True}


@pytest.mark.parametrize(
    ("where", "visible"),
    [
        (Equals("team", "blue"), True),
        (Equals("team", "red"), False),
        (Equals("n", 1.0), True),
        (Equals("n", True), False),
        (Equals("n", "1"), False),
        (Equals("yes", 1), False),
        (Equals("yes", True), True),
        (Equals("o", {"x": 1}), True),
        (Equals("o", {}), False),
        (Equals("o", '{"x":1}'), False),
        (Equals("x", 1), False),
        (Equals("nothing", None), True),
        (Equals("missing", None), False),
        (Equals("people", ["ann", "bea"]), True),
        (Equals("people", ["bea", "ann"]), False),
        (Contains("people", ["ann"]), True),
        (Contains("people", ["bea", "ann"]), True),
        (Contains("people", []), True),
        (Contains("team", []), False),
        (Contains("team", ["blue"]), False),
        (AllOf([]), True),
        (AnyOf([]), False),
    ],
    ids=repr,
)
async def test_what_a_filter_means(storage, where, visible):
    assert permits(where, SHARED) == visible
    async with stored(storage, [SHARED]) as everything:
        assert await everything.seen(where) == [["00"] if visible else []] * 6


async def test_a_filter_of_any_size_can_be_asked(storage):
    many = AnyOf([AllOf([Equals("team", f"t{number}"), Equals("n", number)]) for number in range(2000)])
    async with stored(storage, [{"team": "t1999", "n": 1999}, {"team": "t1999", "n": 1998}]) as everything:
        assert await everything.seen(many) == [["00"]] * 6


async def test_a_cron_without_a_thread_is_nobodys_thread(storage):
    await storage.write(lambda tx: tx.crons.insert(cron("free", thread_id=None)))
    found = await storage.read(lambda tx: tx.crons.search(CronQuery(threads=Equals("owner", "ann"))))
    assert [one.cron_id for one in found] == ["free"]
