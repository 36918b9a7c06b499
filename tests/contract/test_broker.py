"""What every broker does, between two of its kind: in one process the two are one, else they are joined by what they share."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from tests.contract.brokers import KINDS, SECONDS, Pair, Source, got, opened, silent
from threadloom.broker import networked
from threadloom.broker.base import GONE, Broker, EventsLost, Follower
from threadloom.broker.local import LocalBroker
from threadloom.broker.networked import NetworkedBroker
from threadloom.broker.postgres import PostgresLink
from threadloom.errors import Unavailable
from threadloom.types import CHANNELS, Event

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def pair(request, monkeypatch) -> AsyncIterator[Pair]:
    async with opened(request.param, request, monkeypatch) as pair:
        yield pair


joined = pytest.mark.parametrize("pair", ["postgres", "redis"], indirect=True)
"""For tests of connections that break."""

between_processes = pytest.mark.parametrize("pair", ["postgres", "redis", "redis cluster"], indirect=True)


async def test_events_come_in_order_whatever_their_size(pair: Pair) -> None:
    source = Source("t")
    follower = await pair.other.follow("t")
    sent = [source.event(b"x" * (n * n * 20)) for n in range(100)]
    for event in sent:
        pair.one.publish([event])
        if event.n % 7 == 0:
            await asyncio.sleep(0.001)
    assert await got(follower, 100) == sent
    big = source.event(b"y" * 3_000_000)
    pair.one.publish([big, source.event()])
    assert (await got(follower, 2))[0] == big


async def test_what_is_published_after_following_comes(pair: Pair) -> None:
    """From the very moment: nobody has to wait until others have heard of a follower."""
    for number in range(40):
        source = Source(f"t{number}")
        pair.one.publish([source.event(b"before")])
        follower = await pair.other.follow(f"t{number}")
        pair.one.publish([source.event(b"after")])
        *_, event = await got_until(follower, b"after")
        assert event.data == b"after"
        follower.close()


async def got_until(follower: Follower, data: bytes) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(SECONDS):
        while not events or events[-1].data != data:
            events += await follower.next()
    return events


async def test_a_thread_that_is_left_and_followed_again(pair: Pair) -> None:
    source = Source("t")
    for number in range(10):
        follower = await pair.other.follow("t")
        pair.one.publish([source.event(b"%d" % number)])
        assert [event.data for event in await got(follower, 1)] == [b"%d" % number]
        follower.close()
        await asyncio.sleep(0.02 * (number % 5))


async def test_nobody_gets_the_events_of_others(pair: Pair) -> None:
    first, second = await pair.other.follow("a"), await pair.other.follow("b")
    left = await pair.other.follow("a")
    left.close()
    pair.one.publish([Source("a").event()])
    assert len(await got(first, 1)) == 1
    assert await silent(second)
    assert await silent(left)


async def test_who_wants_the_ends_gets_no_more(pair: Pair) -> None:
    source = Source("t")
    ends = await pair.other.follow("t", events=False)
    pair.one.publish([source.event(), source.event(last=True)])
    assert [event.n for event in await got(ends, 1)] == [2]
    everything = await pair.other.follow("t")
    pair.one.publish([source.event()])
    pair.one.publish([source.event(last=True)])
    assert [event.n for event in await got(everything, 2)] == [3, 4]
    assert [event.n for event in await got(ends, 1)] == [4]


async def test_channels_are_a_matter_of_their_own(pair: Pair) -> None:
    source = Source("t")
    plain, channels = await pair.other.follow("t"), await pair.other.follow("t", channels=True)
    pair.one.publish([source.event(mode=CHANNELS)])
    pair.one.publish([source.event()])
    assert [event.n for event in await got(channels, 1)] == [1]
    assert [event.n for event in await got(plain, 1)] == [2]
    assert await silent(channels)


async def test_followers_where_it_is_published_and_elsewhere(pair: Pair) -> None:
    source = Source("t")
    here, there = await pair.one.follow("t"), await pair.other.follow("t")
    assert pair.one.watched("t")
    pair.one.publish([source.event(), source.event()])
    pair.other.publish([Source("t", "another").event()])
    assert sorted((event.run_id, event.n) for event in await got(here, 3)) == [("another", 1), ("run", 1), ("run", 2)]
    assert [event.n for event in await got(there, 3) if event.run_id == "run"] == [1, 2]


async def test_published_and_followed_on_other_threads(pair: Pair) -> None:
    """Runs may execute on event loops of their own, and graphs may call the server from there."""
    source = Source("t")
    follower = await pair.other.follow("t")
    heard: list[Event] = []
    ready = threading.Event()

    def elsewhere() -> None:
        async def follow() -> None:
            inner = await pair.one.follow("t")
            ready.set()
            heard.extend(await got(inner, 500))
            inner.close()

        asyncio.run(follow())

    def publish() -> None:
        ready.wait(SECONDS)
        for _ in range(500):
            pair.one.publish([source.event()])

    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(elsewhere))
        group.create_task(asyncio.to_thread(publish))
        events = await got(follower, 500)
    assert [event.n for event in events] == list(range(1, 501))
    assert [event.n for event in heard] == list(range(1, 501))


async def test_the_end_of_a_thread_is_told(pair: Pair) -> None:
    plain, channels = await pair.other.follow("t"), await pair.other.follow("t", channels=True)
    ends = await pair.other.follow("t", events=False)
    pair.one.publish([Source("t").event()])
    pair.one.gone("t", "run")
    assert [event.name for event in await got(plain, 2)] == ["values", GONE]
    assert [event.name for event in await got(channels, 1)] == [GONE]
    assert await silent(ends)


async def test_cancellations_are_heard_everywhere(pair: Pair) -> None:
    heard: list[tuple[str, str]] = []
    both = asyncio.Event()

    def listener(who: str) -> Callable[[str], None]:
        def hear(run_id: str) -> None:
            heard.append((who, run_id))
            if len(set(heard)) == 2:
                both.set()

        return hear

    pair.one.on_cancel(listener("one"))
    pair.other.on_cancel(listener("other"))
    await _heard_of_each_other(pair)
    pair.one.cancel("r")
    async with asyncio.timeout(SECONDS):
        await both.wait()
    assert set(heard) == {("one", "r"), ("other", "r")}


@between_processes
async def test_letters_come_once_and_in_order_to_one_process(pair: Pair) -> None:
    here: list[tuple[str, bytes]] = []
    there: list[tuple[str, bytes]] = []
    all_there = asyncio.Event()

    def read(sender: str, message: bytes) -> None:
        there.append((sender, message))
        if message == b"last":
            all_there.set()

    pair.one.on_message(lambda *message: here.append(message))
    pair.other.on_message(read)
    follower = await pair.other.follow("t")
    for number in range(50):
        pair.one.send(pair.other.process, b"%d" % number)
        pair.one.publish([Source("t").event()])
    pair.one.send("nobody", b"lost")
    await asyncio.to_thread(pair.one.send, pair.other.process, b"last")
    async with asyncio.timeout(SECONDS):
        await all_there.wait()
    assert there == [(pair.one.process, b"%d" % number) for number in range(50)] + [(pair.one.process, b"last")]
    assert here == []
    assert len(await got(follower, 50)) == 50


async def test_alone_a_process_has_no_name_and_writes_to_nobody() -> None:
    broker = LocalBroker()
    await broker.open()
    assert broker.process == ""
    heard: list[tuple[str, bytes]] = []
    broker.on_message(lambda *message: heard.append(message))
    broker.send("", b"?")
    await asyncio.sleep(0)
    assert heard == []


async def test_work_is_told_of(pair: Pair) -> None:
    await _heard_of_each_other(pair)
    await pair.other.work(0)
    pair.one.wake()
    async with asyncio.timeout(SECONDS):
        await pair.other.work(None)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await pair.other.work(0.1)
    assert loop.time() - began >= 0.09
    pair.other.wake(elsewhere=False)
    async with asyncio.timeout(SECONDS):
        await pair.other.work(None)


async def _heard_of_each_other(pair: Pair) -> None:
    """Waits until words pass; they may be lost while a broker opens."""
    async with asyncio.timeout(SECONDS):
        await pair.other.work(0)
        waiting = asyncio.create_task(pair.other.work(None))
        while not waiting.done():
            pair.one.wake()
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)


async def test_it_can_be_asked_whether_others_are_reached(pair: Pair) -> None:
    await _reached(pair.one)


async def _reached(broker: Broker) -> None:
    """Waits until others are reached: on a busy machine the signs of life come late."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(Unavailable):
                return await broker.probe()
            await asyncio.sleep(0.05)


@joined
async def test_a_broken_connection_costs_time_and_no_event(pair: Pair) -> None:
    assert pair.between is not None
    source = Source("t")
    there, here = await pair.other.follow("t"), await pair.one.follow("t")
    sent = []
    for number in range(60):
        if number % 20 == 10:
            pair.between.cut(closed=True)
        if number % 20 == 14:
            pair.between.let()
        event = source.event(b"%d" % number)
        sent.append(event.n)
        pair.one.publish([event])
        pair.other.publish([Source("t", f"run{number}").event()])
        await asyncio.sleep(0.01)
    assert [event.n for event in await got(there, 120) if event.run_id == "run"] == sent
    assert len({event.run_id for event in await got(here, 120)}) == 61


@joined
async def test_following_is_refused_when_nobody_can_be_told(pair: Pair, monkeypatch) -> None:
    assert pair.between is not None
    monkeypatch.setattr(networked, "PATIENCE_SECONDS", 0.3)
    pair.between.cut(closed=True)
    with pytest.raises(Unavailable):
        await pair.one.follow("t")
    await asyncio.sleep(0.6)
    with pytest.raises(Unavailable):
        await pair.one.probe()
    pair.between.let()
    monkeypatch.setattr(networked, "PATIENCE_SECONDS", SECONDS)
    follower = await pair.one.follow("t")
    pair.other.publish([Source("t").event()])
    assert len(await got(follower, 1)) == 1
    await _reached(pair.one)


@between_processes
async def test_when_all_is_forgotten_followers_are_told(pair: Pair) -> None:
    assert pair.forget is not None
    source = Source("t")
    follower = await pair.other.follow("t")
    await pair.forget()
    with pytest.raises(EventsLost):
        async with asyncio.timeout(SECONDS):
            while True:
                await follower.next()
    pair.one.publish([source.event()])
    assert len(await got(follower, 1)) == 1


async def test_what_is_published_at_the_end_still_goes_out(pair: Pair) -> None:
    follower = await pair.other.follow("t")
    source = Source("t")
    for _ in range(50):
        pair.one.publish([source.event(b"x" * 1000)])
    if pair.one is not pair.other:
        await pair.one.close()
    assert len(await got(follower, 50)) == 50


async def test_sealed_messages_come_and_others_are_told_to_be_lost(postgres_uri) -> None:
    def turned(body: bytes) -> bytes:
        return body[::-1]

    one, other, stranger = (
        NetworkedBroker(PostgresLink(postgres_uri), seal=seal, unseal=turned)
        for seal in (turned, turned, lambda body: body)
    )
    async with contextlib.AsyncExitStack() as stack:
        for broker in (one, other, stranger):
            await broker.open()
            stack.push_async_callback(broker.close)
        follower = await other.follow("t")
        one.publish([Source("t").event(b"kept")])
        assert [event.data for event in await got(follower, 1)] == [b"kept"]
        stranger.publish([Source("t").event(b"in clear")])
        with pytest.raises(EventsLost):
            await follower.next(SECONDS)
