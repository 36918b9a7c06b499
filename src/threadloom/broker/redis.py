"""Messages between processes over Redis (or Valkey).

Each process has one stream as its inbox, which it reads and trims. The followers of a topic are a set. All keys expire when their
process stops sending heartbeats. Short texts are sent over publish/subscribe. Every command uses one key, so a cluster works too.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import redis.asyncio as redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from threadloom.broker.networked import GONE_SECONDS, LinkLost, Topic

ANSWER_SECONDS = 10.0
"""Seconds without an answer after which the server counts as lost."""

POLL_INTERVAL_MILLISECONDS = 3000
"""Milliseconds that one read of the inbox blocks. Less than ANSWER_SECONDS."""

AT_ONCE = 8
"""Parcels that are read at once. Each holds at most one round of `networked`: some megabytes in all, except for large events."""

SECONDS = int(GONE_SECONDS)
SENDER, NUMBER, BODY = b"sender", b"number", b"body"


class RedisLink:
    """A `Link` over Redis.

    Args:
        uri: the server, `redis://…` or `rediss://…`.
        prefix: the prefix of all keys and channels.
        cluster: whether it is a cluster.
        connections: maximum number of connections.
        connect_seconds: timeout for connecting.
    """

    def __init__(
        self, uri: str, *, prefix: str = "", cluster: bool = False, connections: int = 2000, connect_seconds: float = 10
    ) -> None:
        self.name = "Redis"
        self._process = ""
        self._prefix = f"{prefix}threadloom:"
        self._words = f"{self._prefix}words"
        self._read_up_to = b"0"
        self._follows: set[Topic] = set()
        make: Any = RedisCluster.from_url if cluster else redis.Redis.from_url
        self._client: Any = make(
            uri,
            max_connections=connections,
            socket_connect_timeout=connect_seconds,
            socket_timeout=ANSWER_SECONDS,
        )

    async def open(self, process: str) -> None:
        self._process = process
        with _lost():
            await self._client.ping()

    async def close(self) -> None:
        try:
            with contextlib.suppress(LinkLost), _lost():
                pipe = self._client.pipeline(transaction=False)
                for topic in self._follows:
                    pipe.srem(self._key(topic), self._process)
                pipe.delete(self._inbox(self._process))
                await pipe.execute()
        finally:
            with contextlib.suppress(RedisError, OSError):
                await self._client.aclose()

    async def beat(self) -> bool:
        inbox = self._inbox(self._process)
        with _lost():
            known = bool(await self._client.expire(inbox, SECONDS))
            if not known:
                self._read_up_to = b"0"
                self._follows.clear()
                await self._client.xadd(inbox, {b"hello": b""})
                await self._client.expire(inbox, SECONDS)
            pipe = self._client.pipeline(transaction=False)
            for topic in self._follows:
                pipe.expire(self._key(topic), SECONDS)
            await pipe.execute()
        return known

    async def follow(self, topics: Collection[Topic]) -> None:
        with _lost():
            pipe = self._client.pipeline(transaction=False)
            for topic in topics:
                pipe.sadd(self._key(topic), self._process)
                pipe.expire(self._key(topic), SECONDS)
            await pipe.execute()
        self._follows.update(topics)

    async def unfollow(self, topics: Collection[Topic]) -> None:
        with _lost():
            pipe = self._client.pipeline(transaction=False)
            for topic in topics:
                pipe.srem(self._key(topic), self._process)
            await pipe.execute()
        self._follows.difference_update(topics)

    async def followers(self, topics: Collection[Topic]) -> Mapping[Topic, Collection[str]]:
        asked = list(topics)
        with _lost():
            pipe = self._client.pipeline(transaction=False)
            for topic in asked:
                pipe.smembers(self._key(topic))
            found = await pipe.execute()
        return {topic: [process.decode() for process in them] for topic, them in zip(asked, found, strict=True) if them}

    async def deliver(self, number: int, parcels: Mapping[str, bytes]) -> None:
        with _lost():
            pipe = self._client.pipeline(transaction=False)
            for process, body in parcels.items():
                # A process that has ended has no inbox, and must not get a new one.
                fields = {SENDER: self._process, NUMBER: number, BODY: body}
                pipe.xadd(self._inbox(process), fields, nomkstream=True)
            await pipe.execute()

    async def announce(self, words: Sequence[str]) -> None:
        with _lost():
            for word in words:
                await self._client.publish(self._words, word)

    async def listen(self, take: Callable[[str, int, bytes], None], hear: Callable[[str], None]) -> None:
        with _lost():
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._read(take))
                    both.create_task(self._hear(hear))
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _read(self, take: Callable[[str, int, bytes], None]) -> None:
        inbox = self._inbox(self._process)
        while True:
            found = await self._client.xread({inbox: self._read_up_to}, count=AT_ONCE, block=POLL_INTERVAL_MILLISECONDS)
            entries = next(iter(found.values()))[0] if isinstance(found, dict) and found else found and found[0][1]
            for place, fields in entries or ():
                if SENDER in fields:
                    take(fields[SENDER].decode(), int(fields[NUMBER]), fields[BODY])
                self._read_up_to = place
            if entries:
                await self._client.xtrim(inbox, minid=self._read_up_to.decode(), approximate=False)

    async def _hear(self, hear: Callable[[str], None]) -> None:
        async with self._client.pubsub() as ear:
            await ear.subscribe(self._words)
            while True:
                word = await ear.get_message(ignore_subscribe_messages=True, timeout=POLL_INTERVAL_MILLISECONDS / 1000)
                if word is not None:
                    hear(word["data"].decode())

    def _inbox(self, process: str) -> str:
        return f"{self._prefix}inbox:{process}"

    def _key(self, topic: Topic) -> str:
        return f"{self._prefix}follows:{topic[0]}:{topic[1]}"


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Converts every error of the server to LinkLost, so that the call is retried."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise LinkLost(f"{type(error).__name__}: {error}") from error
