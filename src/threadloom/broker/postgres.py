"""Messages between processes over PostgreSQL.

Parcels are rows, and NOTIFY only signals that there are new ones. So their size has no limit, and a process that lost its
connection finds them after it reconnects. NOTIFY takes a lock of the whole server when its transaction commits. It is used only
in transactions of its own, one for a whole batch, so other commits never wait for it.

The tables hold nothing that outlives the processes. They are unlogged: a crash of PostgreSQL empties them, which `beat` detects.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import asyncpg

from threadloom.broker.networked import BEAT_SECONDS, GONE_SECONDS, LinkLost, Topic
from threadloom.clock import SECOND, Clock, SilenceTracker, SystemClock

EVERYBODY = "threadloom"
"""The NOTIFY channel for all processes. Each process also has a channel of its own."""

POLL_INTERVAL_SECONDS = 5.0
"""Seconds between polls of the inbox."""

ANSWER_SECONDS = 10.0
"""Seconds without an answer after which the server counts as lost."""

INBOX_BYTES = 4 * 1024 * 1024
"""Bytes of parcels that are fetched at once, or one larger parcel. Senders take turns."""

LOCK = 0x7468_7265_6164_6C70
"""Key of the advisory lock under which the tables are created."""

TABLES = """
CREATE UNLOGGED TABLE IF NOT EXISTS live_processes (process text PRIMARY KEY, seen timestamptz NOT NULL);
CREATE UNLOGGED TABLE IF NOT EXISTS live_follows (
    thread_id text NOT NULL, kind text NOT NULL, process text NOT NULL REFERENCES live_processes ON DELETE CASCADE,
    PRIMARY KEY (thread_id, kind, process));
CREATE INDEX IF NOT EXISTS live_follows_process ON live_follows (process);
CREATE UNLOGGED TABLE IF NOT EXISTS live_inbox (
    process text NOT NULL REFERENCES live_processes ON DELETE CASCADE, sender text NOT NULL, number bigint NOT NULL,
    body bytea NOT NULL, PRIMARY KEY (process, sender, number));
"""

SEEN = "UPDATE live_processes SET seen = now() WHERE process = $1 RETURNING process"
ENTER = "INSERT INTO live_processes (process, seen) VALUES ($1, now()) ON CONFLICT DO NOTHING"
LIVE = "SELECT process, seen FROM live_processes"
DROP_DEAD = """
DELETE FROM live_processes p USING unnest($1::text[], $2::timestamptz[]) AS dead (process, seen)
WHERE p.process = dead.process AND p.seen = dead.seen"""
LEAVE = "DELETE FROM live_processes WHERE process = $1"
FOLLOW = """
INSERT INTO live_follows (process, kind, thread_id) SELECT $1, * FROM unnest($2::text[], $3::text[]) ON CONFLICT DO NOTHING"""
UNFOLLOW = """
DELETE FROM live_follows f USING unnest($2::text[], $3::text[]) AS gone (kind, thread_id)
WHERE f.process = $1 AND f.kind = gone.kind AND f.thread_id = gone.thread_id"""
FOLLOWERS = """
SELECT f.kind, f.thread_id, f.process FROM unnest($1::text[], $2::text[]) AS asked (kind, thread_id)
JOIN live_follows f USING (kind, thread_id)"""
DELIVER = """
WITH put AS (
    INSERT INTO live_inbox (process, sender, number, body)
    SELECT p.process, $1, $2, parcel.body FROM unnest($3::text[], $4::bytea[]) AS parcel (process, body)
    JOIN live_processes p USING (process) ON CONFLICT DO NOTHING RETURNING process)
SELECT pg_notify($5 || '_' || process, '') FROM put"""
ANNOUNCE = "SELECT pg_notify($1, word) FROM unnest($2::text[]) AS word"
INBOX = """
WITH waiting AS (
    SELECT sender, number, row_number() OVER (PARTITION BY sender ORDER BY number) AS turn, octet_length(body) AS size
    FROM live_inbox WHERE process = $1
), first AS (
    SELECT sender, number, turn, sum(size) OVER (ORDER BY turn, sender) - size AS before FROM waiting
    ORDER BY turn, sender LIMIT 1000
)
SELECT i.sender, i.number, i.body FROM first JOIN live_inbox i USING (sender, number)
WHERE i.process = $1 AND first.before < $2 ORDER BY first.turn, first.sender"""
TAKEN = """
DELETE FROM live_inbox i USING unnest($2::text[], $3::bigint[]) AS taken (sender, upto)
WHERE i.process = $1 AND i.sender = taken.sender AND i.number <= taken.upto"""


class PostgresLink:
    """A `Link` over PostgreSQL: one connection to listen on, and up to two for queries.

    A process counts as dead when this process has itself seen no heartbeat of it for long enough. So setting the database's clock
    makes no process count as dead.

    Args:
        uri: the database, `postgresql://…`.
        clock: measures that time.
    """

    def __init__(self, uri: str, clock: Clock | None = None) -> None:
        self.name = "PostgreSQL"
        self._uri = uri
        self._process = ""
        self._pool: Any = None
        self._clock = clock or SystemClock()
        self._silences: SilenceTracker[str] = SilenceTracker(int(GONE_SECONDS * SECOND), int(2 * BEAT_SECONDS * SECOND))

    async def open(self, process: str) -> None:
        self._process = process
        with _lost():
            self._pool = await asyncpg.create_pool(
                self._uri,
                min_size=0,
                max_size=2,
                command_timeout=ANSWER_SECONDS,
                timeout=ANSWER_SECONDS,
                reset=_nothing,
            )
        async with self._speaking() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            await connection.execute(TABLES)

    async def close(self) -> None:
        if self._pool is None:
            return
        try:
            with contextlib.suppress(LinkLost):
                async with self._speaking() as connection:
                    await connection.execute(LEAVE, self._process)
        finally:
            self._pool.terminate()

    async def beat(self) -> bool:
        async with self._speaking() as connection:
            known = await connection.fetchval(SEEN, self._process) is not None
            if not known:
                await connection.execute(ENTER, self._process)
            asked = self._clock.steady()
            live = {row["process"]: row["seen"] for row in await connection.fetch(LIVE)}
            dead = self._silences.look(asked, self._clock.steady(), live)
            if dead:
                await connection.execute(DROP_DEAD, dead, [live[process] for process in dead])
        return known

    async def follow(self, topics: Collection[Topic]) -> None:
        async with self._speaking() as connection:
            await connection.execute(FOLLOW, self._process, *_columns(topics))

    async def unfollow(self, topics: Collection[Topic]) -> None:
        async with self._speaking() as connection:
            await connection.execute(UNFOLLOW, self._process, *_columns(topics))

    async def followers(self, topics: Collection[Topic]) -> Mapping[Topic, Collection[str]]:
        found: dict[Topic, list[str]] = {}
        async with self._speaking() as connection:
            for kind, thread_id, process in await connection.fetch(FOLLOWERS, *_columns(topics)):
                found.setdefault((kind, thread_id), []).append(process)
        return found

    async def deliver(self, number: int, parcels: Mapping[str, bytes]) -> None:
        to, bodies = list(parcels), list(parcels.values())
        async with self._speaking() as connection:
            await connection.execute(DELIVER, self._process, number, to, bodies, EVERYBODY)

    async def announce(self, words: Sequence[str]) -> None:
        async with self._speaking() as connection:
            await connection.execute(ANNOUNCE, EVERYBODY, words)

    async def listen(self, take: Callable[[str, int, bytes], None], hear: Callable[[str], None]) -> None:
        bell = asyncio.Event()
        with _lost():
            connection = await asyncpg.connect(self._uri, command_timeout=ANSWER_SECONDS, timeout=ANSWER_SECONDS)
            try:
                connection.add_termination_listener(lambda _: bell.set())
                await connection.add_listener(EVERYBODY, lambda *told: hear(told[3]))
                await connection.add_listener(f"{EVERYBODY}_{self._process}", lambda *_: bell.set())
                while True:
                    bell.clear()
                    rows = await connection.fetch(INBOX, self._process, INBOX_BYTES)
                    taken: dict[str, int] = {}
                    for sender, number, body in rows:
                        take(sender, number, body)
                        taken[sender] = number
                    if taken:
                        await connection.execute(TAKEN, self._process, list(taken), list(taken.values()))
                        continue
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL_INTERVAL_SECONDS):
                            await bell.wait()
            finally:
                connection.terminate()

    @contextlib.asynccontextmanager
    async def _speaking(self) -> AsyncIterator[Any]:
        with _lost():
            async with self._pool.acquire() as connection:
                yield connection


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Converts every error of the server to LinkLost, so that the call is retried."""
    try:
        yield
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LinkLost(f"{type(error).__name__}: {error}") from error


def _columns(topics: Collection[Topic]) -> tuple[list[str], list[str]]:
    return [kind for kind, _ in topics], [thread_id for _, thread_id in topics]


async def _nothing(connection: object) -> None:
    """Resets a connection between two uses. Does nothing, because no use changes its state."""
