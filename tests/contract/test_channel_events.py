"""The log of v2 events: what every storage keeps of it, and how it is read without gap or double."""

import asyncio

import msgspec
import pytest

from tests.clocks import ManualClock
from tests.encryptions import CIPHERS
from threadloom.auth.authorize import OPEN
from threadloom.broker.base import ReaderTooSlow
from threadloom.broker.local import LocalBroker
from threadloom.config.settings import LimitSettings
from threadloom.engine.events import Emitter, EventIds
from threadloom.services.event_filter import read_filter
from threadloom.services.event_stream import EventStreamService
from threadloom.services.limits import Limits
from threadloom.types import CHANNELS, SYSTEM, Event, Run, Thread

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


ALL = read_filter({"channels": ["values", "lifecycle", "input", "custom"]})


def event(method="values", n=1, *, run="r", thread="t", mode=CHANNELS, data=b'{"namespace":[],"data":{}}'):
    return Event(thread_id=thread, run_id=run, name=method, data=data, mode=mode, ms=1, n=n)


def run(run_id="r", thread="t", **kwargs):
    config = {"configurable": {"graph_id": "g"}}
    return Run(
        run_id=run_id,
        thread_id=thread,
        assistant_id="a",
        status="running",
        created_at=1,
        updated_at=1,
        metadata={},
        kwargs={"config": config, "event_streaming": True, **kwargs},
        multitask_strategy="enqueue",
        due=1,
    )


async def put(storage, *events):
    await storage.write(lambda tx: tx.events.append(events))
    return events


async def numbers(storage, thread="t", **query):
    return [one.seq for one in await storage.read(lambda tx: tx.events.of_channels(thread, **{"after": 0, **query}))]


async def newest(storage, thread="t"):
    return await storage.read(lambda tx: tx.events.last_channel_seq(thread))


async def floor(storage, thread="t"):
    return await storage.read(lambda tx: tx.events.floor(thread))


# --- the storage ---


async def test_events_are_found_by_number_method_and_run(storage):
    await put(storage, event("lifecycle", 1), event("values", 2), event("custom", 3))
    await put(storage, event("values", 4, run="s"))
    await put(storage, event("values", 1, thread="u"))
    assert await numbers(storage) == [1, 2, 3, 4]
    assert await numbers(storage, after=1, upto=3) == [2, 3]
    assert await numbers(storage, methods=("values",)) == [2, 4]
    assert await numbers(storage, run_id="s") == [4]
    assert await numbers(storage, limit=2) == [1, 2]
    assert await numbers(storage, "u") == [1]
    assert (await newest(storage), await newest(storage, "nobody")) == (4, 0)


async def test_classic_and_v2_readers_do_not_see_each_others_events(storage):
    await put(storage, event("values", 1), event("updates", 2, mode="updates"))
    assert await numbers(storage) == [1]
    assert await newest(storage) == 1
    for read in (lambda tx: tx.events.of_thread("t"), lambda tx: tx.events.of_run("r")):
        assert [one.name for one in await storage.read(read)] == ["updates"]


async def test_the_course_of_a_run_and_its_questions_outlive_the_rest(storage):
    thread = Thread(thread_id="t", created_at=1, updated_at=1, state_updated_at=1, metadata={})
    await storage.write(lambda tx: tx.threads.insert(thread))
    await put(storage, event("lifecycle", 1), event("values", 2), event("input.requested", 3), event("values", 4))
    await put(storage, event("lifecycle", 5))
    await storage.write(lambda tx: tx.events.expire("r", 100))
    await storage.write(lambda tx: tx.events.delete_expired(101))
    assert await numbers(storage) == [1, 3, 5]
    assert await floor(storage) == 4


async def test_numbers_are_not_given_again_when_their_events_are_gone(storage):
    await put(storage, event("values", 1), event("values", 2))
    await storage.write(lambda tx: tx.events.delete_of_run("r"))
    assert (await numbers(storage), await newest(storage), await floor(storage)) == ([], 2, 2)
    await put(storage, event("values", 3, run="s"))
    assert await numbers(storage) == [3]


async def test_the_log_is_bounded(storage):
    await put(storage, *(event("lifecycle", n) for n in range(1, 11)))
    await storage.write(lambda tx: tx.events.trim("t", 4))
    assert (await numbers(storage), await floor(storage)) == ([7, 8, 9, 10], 6)


async def test_a_thread_that_is_gone_leaves_nothing(storage):
    await put(storage, event("values", 1), event("values", 2))
    await storage.write(lambda tx: tx.events.delete_of_run("r"))
    await storage.write(lambda tx: tx.events.trim("t", 0))
    assert (await newest(storage), await floor(storage)) == (0, 0)


async def test_events_of_a_thread_that_is_gone_stay_until_a_moment_and_its_numbers_go_with_them(storage):
    await put(storage, event("lifecycle", 1), event("values", 2, run="s"))
    await storage.write(lambda tx: tx.events.expire("s", 50))
    await storage.write(lambda tx: tx.events.expire_log("t", 100))
    await storage.write(lambda tx: tx.events.delete_expired(51))
    assert await numbers(storage) == [1]
    assert await storage.write(lambda tx: tx.events.delete_expired(101)) == 1
    assert (await newest(storage), await floor(storage)) == (0, 0)


# --- telling and reading ---


@pytest.fixture
async def broker():
    broker = LocalBroker()
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
async def service(storage, broker):
    return EventStreamService(storage=storage, guard=OPEN, broker=broker, limits=Limits(LimitSettings()))


async def emitter(storage, broker, run_id="r", **more):
    """The emitter of a run that is being executed."""

    async def begin(tx):
        await tx.runs.insert(msgspec.structs.replace(run(run_id), status="pending"))
        return await tx.runs.take(run_id, "worker", 1, 2)

    claimed = await storage.write(begin)
    return Emitter(claimed, storage=storage, broker=broker, numbers=EventIds(ManualClock()), **more)


async def take(feed, count):
    """The next so many events."""
    seen = []
    async with asyncio.timeout(60):
        while len(seen) < count:
            seen += await feed.__anext__()
    return seen


async def test_events_are_stored_before_they_are_told(storage, broker, service):
    feed = await service.open(SYSTEM, "t", ALL)
    encryption_context = await emitter(storage, broker)
    for n in range(3):
        encryption_context.emit_channel("values", (), {"n": n})
    await encryption_context.flush()
    seen = await take(feed, 3)
    assert [one.seq for one in seen] == [1, 2, 3] == await numbers(storage)
    await feed.aclose()
    assert not broker.watched("t")


async def test_a_classic_event_of_a_v2_run_is_told_live_and_not_stored(storage, broker):
    encryption_context = await emitter(storage, broker)
    follower = await broker.follow("t")
    encryption_context.emit("values", {"n": 1}, "values")
    encryption_context.emit_channel("values", (), {"n": 1})
    await encryption_context.flush()
    assert [one.mode for one in await follower.next()] == ["values"]
    assert await storage.read(lambda tx: tx.events.of_run("r")) == []


async def test_what_is_told_out_of_order_is_read_in_order(storage, broker, service):
    """The last word of a run may be handed on after the first of the next run."""
    feed = await service.open(SYSTEM, "t", ALL)
    waiting = asyncio.create_task(take(feed, 3))
    await asyncio.sleep(0)
    (first,) = await put(storage, event("lifecycle", 1))
    (second,) = await put(storage, event("lifecycle", 2, run="s"))
    (third,) = await put(storage, event("values", 3, run="s"))
    for one in (second, first, third):
        broker.publish([one])
    assert [one.seq for one in await waiting] == [1, 2, 3]
    await feed.aclose()


async def fallen_behind(storage, broker, service):
    """A reader that has fetched one event, and for which more of the other fifty wait than may."""
    broker.reader_bytes = 100
    feed = await service.open(SYSTEM, "t", ALL)
    encryption_context = await emitter(storage, broker)
    encryption_context.emit_channel("lifecycle", (), {"event": "running"})
    await encryption_context.flush()
    assert [one.seq for one in await take(feed, 1)] == [1]
    for n in range(50):
        encryption_context.emit_channel("values", (), {"n": n})
        await encryption_context.flush()
    return feed


async def test_a_reader_that_fell_behind_reads_on_from_the_storage(storage, broker, service):
    feed = await fallen_behind(storage, broker, service)
    assert [one.seq for one in await take(feed, 50)] == list(range(2, 52))
    await feed.aclose()


async def test_a_reader_that_fell_behind_the_log_is_told(storage, broker, service):
    feed = await fallen_behind(storage, broker, service)
    await storage.write(lambda tx: tx.events.trim("t", 10))
    with pytest.raises(ReaderTooSlow, match="no longer stored"):
        await take(feed, 50)


async def test_pages_are_bounded_in_bytes(storage):
    size = 10_000
    large = b'{"namespace":[],"data":"%b"}' % (b"x" * size)  # what sealing adds is little beside it
    await put(storage, *(msgspec.structs.replace(event("values", n), data=large) for n in range(1, 6)))

    async def page(most):
        return [one.seq for one in await storage.read(lambda tx: tx.events.of_channels("t", after=0, size=most))]

    assert await page(None) == await page(1000 * size) == [1, 2, 3, 4, 5]
    assert await page(1) == [1]
    assert len(await page(3 * size)) == 3


async def test_the_log_of_a_run_is_bounded_in_bytes(storage, broker):
    encryption_context = await emitter(storage, broker, replay_bytes=10_000)
    for n in range(40):
        encryption_context.emit_channel("values", (), {"n": n, "blob": "x" * 1000})
        await encryption_context.flush()
    kept = await numbers(storage)
    assert kept[-1] == 40
    assert 7 <= len(kept) <= 12
    assert kept == list(range(kept[0], 41))


async def test_what_follows_a_thread_ends_with_it(storage, broker, service):
    feed = await service.open(SYSTEM, "t", ALL)
    waiting = asyncio.create_task(take(feed, 1))
    await asyncio.sleep(0.05)
    broker.gone("t")
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_a_reader_is_told_of_what_is_gone(storage, broker, service):
    await put(storage, *(event("values", n) for n in range(1, 6)))
    await storage.write(lambda tx: tx.events.trim("t", 2))

    async def gap(since):
        feed = await service.open(SYSTEM, "t", read_filter({"channels": ["values"], "since": since}))
        await feed.aclose()
        return feed.gap

    assert [await gap(since) for since in (0, 1, 2, 3, 4, 99)] == [False, True, True, False, False, False]


async def test_a_thread_that_began_anew_is_followed_from_its_start(storage, broker, service):
    await put(storage, *(event("values", n) for n in range(1, 6)))
    feed = await service.open(SYSTEM, "t", read_filter({"channels": ["values"], "since": 5}))
    waiting = asyncio.create_task(take(feed, 2))
    await asyncio.sleep(0)
    await storage.write(lambda tx: tx.events.trim("t", 0))
    encryption_context = await emitter(storage, broker)
    for n in range(2):
        encryption_context.emit_channel("values", (), {"n": n})
        await encryption_context.flush()
    assert [one.seq for one in await waiting] == [1, 2]
    await feed.aclose()


async def test_many_events_are_replayed_in_pages(storage, broker, service):
    await put(storage, *(event("values" if n % 7 else "custom", n) for n in range(1, 1801)))
    feed = await service.open(SYSTEM, "t", read_filter({"channels": ["custom"], "since": 7}))
    assert [one.seq for one in await take(feed, 256)] == list(range(14, 1801, 7))
    encryption_context = await emitter(storage, broker)
    encryption_context.emit_channel("custom", (), {"payload": 1})
    await encryption_context.flush()
    assert [one.seq for one in await take(feed, 1)] == [1801]
    await feed.aclose()


async def test_the_log_of_a_thread_keeps_its_newest_events(storage, broker):
    encryption_context = await emitter(storage, broker, keep=500)
    for _ in range(3):
        for n in range(700):
            encryption_context.emit_channel("values", (), {"n": n})
        await encryption_context.flush()
    assert await newest(storage) == 2100
    assert len(await numbers(storage, limit=5000)) <= 1000
