"""What readers of runs and threads are told: from where on, up to where, and what they leave behind."""

import asyncio

import msgspec
import pytest

from tests.clocks import ManualClock
from tests.contract.copied import thread
from tests.contract.test_channel_events import ALL, event, run
from threadloom.auth.authorize import OPEN
from threadloom.broker.local import LocalBroker
from threadloom.config.settings import LimitSettings
from threadloom.engine.events import EventIds
from threadloom.services import waiting
from threadloom.services.event_stream import EventStreamService
from threadloom.services.limits import Limits
from threadloom.services.run_streams import RunStreamService
from threadloom.types import SYSTEM, Event

pytestmark = pytest.mark.anyio
SILENCE = 0.05


class Told:
    """A run of a thread whose events are stored, and those who read them."""

    def __init__(self, storage, broker, runs=None):
        self.storage = storage
        self.broker = broker
        parts = {"storage": storage, "guard": OPEN, "broker": broker, "limits": Limits(LimitSettings())}
        numbers = EventIds(ManualClock())
        unused = {"starts": None, "outputs": None}
        self.streams = RunStreamService(**parts, **unused, numbers=numbers, runs=runs, end_event=True)
        self.channels = EventStreamService(**parts)

    async def begin(self):
        async def work(tx):
            await tx.threads.insert(thread("t"))
            await tx.runs.insert(run(resumable=True, event_streaming=False))

        await self.storage.write(work)
        return self

    async def store(self, *numbers, last=False):
        """Stores events, and gives them for being published."""
        stored = [custom(n, last=last and n == numbers[-1]) for n in numbers]
        await self.storage.write(lambda tx: tx.events.append(stored))
        return stored

    async def join(self, **how):
        return await self.streams.join_stream(SYSTEM, "t", "r", **how)


def custom(n, *, last=False):
    return Event(
        thread_id="t", run_id="r", name="end" if last else "custom", data=b"1", mode="custom", ms=1, n=n, last=last
    )


@pytest.fixture
async def told(storage, monkeypatch):
    monkeypatch.setattr(waiting, "SILENCE", SILENCE)
    broker = LocalBroker()
    await broker.open()
    yield await Told(storage, broker).begin()
    await broker.close()


async def following(feed, count):
    """The numbers of the next so many events."""
    seen = []
    async with asyncio.timeout(60):
        while len(seen) < count:
            seen += [one.n for one in await feed.__anext__()]
    return seen


async def test_who_joins_from_now_on_is_not_told_what_was_before_however_long_nothing_comes(told):
    await told.store(1, 2)
    feed = await told.join()
    coming = asyncio.create_task(following(feed, 1))
    await asyncio.sleep(5 * SILENCE)
    assert not coming.done()
    told.broker.publish(await told.store(3))
    assert await coming == [3]
    await told.store(4)  # its worker dies before it tells it
    assert await following(feed, 1) == [4]
    told.broker.publish(await told.store(5, 6, last=True))
    assert await following(feed, 2) == [5, 6]
    with pytest.raises(StopAsyncIteration):
        await feed.__anext__()


async def test_nor_does_it_miss_what_is_stored_and_told_to_nobody(told):
    feed = await told.join()
    await told.store(1)
    assert await following(feed, 1) == [1]
    await feed.aclose()


async def test_stored_events_that_were_not_published_are_given_before_the_next_published_ones(told):
    """In pages, to readers of the run and of the thread, whose other events may be stored nowhere."""
    feeds = [await told.join(last_event_id="-"), await told.streams.thread_stream(SYSTEM, "t", modes={"run_modes"})]
    coming = [asyncio.create_task(following(feed, 1)) for feed in feeds]
    await asyncio.sleep(SILENCE / 5)
    told.broker.publish(await told.store(1))
    assert await asyncio.gather(*coming) == [[1], [1]]
    await told.store(*range(2, 1203))
    coming = [asyncio.create_task(following(feed, count)) for feed, count in zip(feeds, (1202, 1203), strict=True)]
    await asyncio.sleep(0)
    told.broker.publish([msgspec.structs.replace(custom(2000), run_id="another"), *await told.store(1203)])
    run, thread = await asyncio.gather(*coming)
    assert run == list(range(2, 1204))
    assert thread == [*range(2, 1203), 2000, 1203]
    for feed in feeds:
        await feed.aclose()


async def test_a_run_that_ends_while_its_reader_comes_is_read_to_its_end(told):
    """Its last events were published before the reader followed it."""
    await told.store(1)
    feed = await told.join(last_event_id="-")
    assert await following(feed, 1) == [1]
    await told.store(2, 3, last=True)
    await told.storage.write(lambda tx: tx.runs.set_status("r", "success", updated_at=2, ended_at=2))
    assert await everything(feed) == [2, 3]


@pytest.mark.parametrize("odd", ["9" * 30 + "-0", "1-" + "9" * 19, "9" * 5000 + "-1", "\u0967-0", "1-1-1", "x"])
async def test_a_text_that_is_no_events_id_means_from_now_on(told, odd):
    await told.store(1)
    feeds = [
        await told.join(last_event_id=odd),
        await told.streams.thread_stream(SYSTEM, "t", modes={"run_modes"}, last_event_id=odd),
    ]
    coming = [asyncio.create_task(following(feed, 1)) for feed in feeds]
    await asyncio.sleep(SILENCE / 2)
    told.broker.publish(await told.store(2, last=True))
    assert await asyncio.gather(*coming) == [[2], [2]]
    for feed in feeds:
        await feed.aclose()


async def test_a_stream_that_is_closed_before_it_is_begun_follows_nothing(told):
    """As `HEAD` does it."""
    for how in ({}, {"last_event_id": "-"}):
        await (await told.join(**how)).aclose()
    await (await told.streams.thread_stream(SYSTEM, "t", modes={"run_modes"})).aclose()
    assert not told.broker.watched("t")


async def test_what_was_told_of_a_thread_before_it_was_deleted_is_told(told):
    """A run on a thread of its own ends and takes the thread away in one go."""
    feed = await told.streams.thread_stream(SYSTEM, "t", modes={"run_modes"})
    channels = await told.channels.open(SYSTEM, "t", ALL)
    reading = [asyncio.create_task(everything(one)) for one in (feed, channels)]
    async with asyncio.timeout(60):
        while len(told.broker._followers["t"]) < 2:
            await asyncio.sleep(0.001)
    await asyncio.sleep(SILENCE)
    ending = event("lifecycle", 2)
    await told.storage.write(lambda tx: tx.events.append([ending]))
    told.broker.publish([custom(1), custom(3, last=True)])
    told.broker.publish([ending])
    told.broker.gone("t", "r")
    told.broker.publish([custom(9)])  # of another thread, which has its id now
    assert await reading[0] == [1, 3]
    assert await reading[1] == [2]


async def everything(feed):
    async with asyncio.timeout(60):
        return [one.n async for batch in feed for one in batch]
