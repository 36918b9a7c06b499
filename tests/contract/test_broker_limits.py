"""What may wait in every broker: for a follower, and of a run. Two brokers of a kind, as in `test_broker`."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.contract.brokers import KINDS, SECONDS, Pair, Source, got, opened
from threadloom.broker import local, networked
from threadloom.broker.base import EventsLost, ReaderTooSlow
from threadloom.broker.local import LocalBroker
from threadloom.types import Event

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def pair(request, monkeypatch) -> AsyncIterator[Pair]:
    async with opened(request.param, request, monkeypatch) as pair:
        yield pair


async def test_a_reader_that_is_too_slow_is_told_once(pair: Pair) -> None:
    """What waited for it is dropped; others lose nothing, and from then on it gets what comes."""
    assert isinstance(pair.other, LocalBroker)
    pair.other.reader_bytes = 100_000
    source = Source("t")
    slow, quick = await pair.other.follow("t"), await pair.other.follow("t")
    for _ in range(20):
        pair.one.publish([source.event(b"x" * 10_000)])
        await got(quick, 1)
    with pytest.raises(ReaderTooSlow, match="more than 100000 bytes"):
        await slow.next()
    pair.one.publish([source.event()])
    assert [event.n for event in await got(slow, 1)] == [21]
    assert len(await got(quick, 1)) == 1


async def test_one_event_may_be_larger_than_what_may_wait(pair: Pair) -> None:
    assert isinstance(pair.other, LocalBroker)
    pair.other.reader_bytes = 100_000
    source = Source("t")
    follower = await pair.other.follow("t")
    for _ in range(3):
        pair.one.publish([source.event(b"x" * 300_000)])
        assert len(await got(follower, 1)) == 1


async def test_much_is_given_in_portions(pair: Pair) -> None:
    """What a reader holds is bounded as well as what waits for it."""
    source = Source("t")
    follower = await pair.other.follow("t")
    for _ in range(50):
        pair.one.publish([source.event(b"x" * 50_000)])
    events: list[Event] = []
    async with asyncio.timeout(SECONDS):
        while len(events) < 50:
            some = await follower.next()
            assert sum(len(event.data) for event in some) <= local.PORTION + 50_000
            events += some
    assert [event.n for event in events] == list(range(1, 51))


async def test_a_run_waits_for_readers_that_keep_up_and_not_for_others(pair: Pair) -> None:
    source = Source("t")
    quick, stuck = await pair.one.follow("t"), await pair.one.follow("t")
    loop = asyncio.get_running_loop()
    heard: list[Event] = []

    async def read() -> None:
        while len(heard) < 60:
            await asyncio.sleep(0.001)
            heard.extend(await quick.next())

    reading = asyncio.create_task(read())
    began = loop.time()
    for _ in range(60):  # 30 MB
        pair.one.publish([source.event(b"x" * 500_000)])
        await pair.one.catch_up("t", "run", 500_000)
    took = loop.time() - began
    async with asyncio.timeout(SECONDS):
        await reading
    assert [event.n for event in heard] == list(range(1, 61))
    with pytest.raises(ReaderTooSlow):
        async with asyncio.timeout(SECONDS):
            while True:
                await stuck.next()
    assert took < 30  # what it waited for the stuck one it did once


@pytest.mark.parametrize("pair", ["postgres", "redis"], indirect=True)
async def test_a_loud_run_costs_others_nothing_while_the_link_is_lost(pair: Pair, monkeypatch) -> None:
    """Its own followers are told of what was dropped, and why; how it ended still comes."""
    assert pair.between is not None
    monkeypatch.setattr(networked, "WAIT_SECONDS", 0.2)
    loud, quiet = Source("t", "loud"), Source("t", "quiet")
    other = Source("u", "other")
    at_t, at_u = await pair.other.follow("t"), await pair.other.follow("u")
    pair.between.cut(closed=True)
    for _ in range(30):  # 30 MB
        pair.one.publish([loud.event(b"x" * 1_000_000)])
        await pair.one.catch_up("t", "loud", 1_000_000)
        pair.one.publish([other.event()])
        pair.one.publish([quiet.event()])
    pair.one.publish([loud.event(last=True)])
    pair.between.let()
    assert len(await got(at_u, 30)) == 30
    heard: list[Event] = []
    lost: list[EventsLost] = []
    async with asyncio.timeout(SECONDS):
        while sum(event.run_id == "quiet" for event in heard) < 30 or not heard or not any(e.last for e in heard):
            try:
                heard += await at_t.next()
            except EventsLost as error:
                lost.append(error)
    assert {error.run_id for error in lost} == {"loud"}
    assert "cannot be reached" in str(lost[0])
