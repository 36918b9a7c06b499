"""Two brokers of each kind that are joined by what they share, for tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis.asyncio

from tests.proxy import Proxy
from threadloom.broker import networked
from threadloom.broker.base import Broker, Follower
from threadloom.broker.local import LocalBroker
from threadloom.broker.networked import NetworkedBroker
from threadloom.broker.postgres import PostgresLink
from threadloom.broker.redis import RedisLink
from threadloom.types import Event

KINDS = ["local", "postgres", "redis", "redis cluster"]
SECONDS = 60


@dataclass
class Pair:
    """Two brokers that share what carries their messages; `between` is the connection of the first to it.

    `forget` makes what carries the messages forget all.
    """

    one: Broker
    other: Broker
    between: Proxy | None = None
    forget: Callable[[], Awaitable[None]] | None = None


@contextlib.asynccontextmanager
async def _postgres(uri: str) -> AsyncIterator[Pair]:
    async def forget() -> None:
        connection = await asyncpg.connect(uri)
        await connection.execute("TRUNCATE live_processes CASCADE")
        await connection.close()

    def link(port: int) -> PostgresLink:
        place = urlsplit(uri)
        return PostgresLink(place._replace(netloc=f"{place.username}@127.0.0.1:{port}").geturl())

    place = urlsplit(uri)
    assert place.hostname and place.port
    with Proxy([(place.hostname, place.port)]) as between:
        one, other = NetworkedBroker(link(between.port)), NetworkedBroker(link(place.port))
        yield Pair(one, other, between, forget)


@contextlib.asynccontextmanager
async def _redis(uri: str, *, cluster: bool = False) -> AsyncIterator[Pair]:
    async def forget() -> None:
        client = redis.asyncio.Redis.from_url(uri)
        await client.flushall()
        await client.aclose()

    place = urlsplit(uri)
    assert place.hostname and place.port
    with Proxy([(place.hostname, place.port)]) as between:
        port = place.port if cluster else between.port  # a cluster tells where its nodes are: the way there is its own
        one = NetworkedBroker(RedisLink(f"redis://127.0.0.1:{port}", prefix="t:", cluster=cluster))
        other = NetworkedBroker(RedisLink(uri, prefix="t:", cluster=cluster))
        yield Pair(one, other, None if cluster else between, forget)


@contextlib.asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """An open pair of a kind."""
    monkeypatch.setattr(networked, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(networked, "BEAT_SECONDS", 0.3)
    async with contextlib.AsyncExitStack() as stack:
        if kind == "local":
            both = LocalBroker()
            pair = Pair(both, both)
        elif kind == "postgres":
            pair = await stack.enter_async_context(_postgres(request.getfixturevalue("postgres_uri")))
        elif kind == "redis":
            pair = await stack.enter_async_context(_redis(request.getfixturevalue("redis_uri")))
        else:
            uri = request.getfixturevalue("redis_cluster_uri")
            pair = await stack.enter_async_context(_redis(uri, cluster=True))
        for broker in {id(pair.one): pair.one, id(pair.other): pair.other}.values():
            await broker.open()
            stack.push_async_callback(broker.close)
        yield pair


class Source:
    """Makes the events of one run."""

    def __init__(self, thread_id: str, run_id: str = "run") -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._n = 0

    def event(self, data: bytes = b"1", *, mode: str = "values", last: bool = False) -> Event:
        self._n += 1
        return Event(
            thread_id=self._thread_id,
            run_id=self._run_id,
            name="values",
            data=data,
            mode=mode,
            ms=1,
            n=self._n,
            last=last,
        )


async def got(follower: Follower, number: int) -> list[Event]:
    """The next events of a follower, as many as that."""
    events: list[Event] = []
    async with asyncio.timeout(SECONDS):
        while len(events) < number:
            events += await follower.next()
    assert len(events) == number
    return events


async def silent(follower: Follower) -> bool:
    return not await follower.next(0.2)
