"""One writer at a time for each thread, across processes: advisory locks of PostgreSQL.

The locks avoid conflicts between writers of the same state that would be detected only at the commit. The commit still detects
them, so a lock that was lost with its connection, or is held too long, does no harm.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, Protocol

import asyncpg

SPACE = 0x746C
"""The first of the two numbers of a key. Locks of transactions have keys of one number, so the two kinds do not collide."""

PATIENCE_SECONDS = 30.0
"""How many seconds a caller waits for a lock."""

ANSWER_SECONDS = 10.0
LONGEST_PAUSE = 0.05


class Locks(Protocol):
    """Locks of this process."""

    def hold(self, thread_id: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Waits until no other task of this process holds the thread, and holds it until the block is left."""
        ...


class PostgresLocks:
    """Locks of all processes on one database.

    One connection holds all locks of a process. It only tries to take a lock, again and again, and never waits for one: a waiting
    statement would block all others.

    Args:
        uri: the database.
        local: locks of this process, taken first, so that the connection holds each lock at most once.
    """

    def __init__(self, uri: str, local: Locks) -> None:
        self._uri = uri
        self._local = local
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._home: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Starts the locks, on the event loop whose requests use them. Other event loops use the locks of the process."""
        self._home = asyncio.get_running_loop()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    @contextlib.asynccontextmanager
    async def hold(self, thread_id: str) -> AsyncIterator[None]:
        """Waits until no other process holds the thread, then holds it until the block is left."""
        async with self._local.hold(thread_id):
            taken = asyncio.get_running_loop() is self._home and await self._take(thread_id)
            try:
                yield
            finally:
                if taken:
                    await asyncio.shield(self._ask("SELECT pg_advisory_unlock($1, hashtext($2))", thread_id))

    async def _take(self, thread_id: str) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        pause = 0.002
        while not (answer := await self._ask("SELECT pg_try_advisory_lock($1, hashtext($2))", thread_id)):
            if answer is None or loop.time() > deadline:
                return False
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)
        return True

    async def _ask(self, query: str, thread_id: str) -> bool | None:
        """Returns the result of a query; None if the database cannot be reached, so its locks are lost."""
        async with self._turn:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(
                        self._uri, timeout=ANSWER_SECONDS, command_timeout=ANSWER_SECONDS
                    )
                answer: bool = await self._connection.fetchval(query, SPACE, thread_id)
                return answer
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if self._connection is not None:
                    self._connection.terminate()
                return None
