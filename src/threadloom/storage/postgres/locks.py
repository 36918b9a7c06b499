"""One at a time for each thread, across processes: advisory locks of PostgreSQL.

They spare those who write to the same state at once from finding each other out only when they commit. That they do find out
makes it right, so a lock that was lost with its connection, or is held too long, does no harm.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, Protocol

import asyncpg

SPACE = 0x746C
"""First half of the keys: apart from the locks of transactions, which have keys of one number."""

PATIENCE_SECONDS = 30.0
"""How long a lock is waited for."""

ANSWER_SECONDS = 10.0
LONGEST_PAUSE = 0.05


class Locks(Protocol):
    """Locks of this process."""

    def hold(self, thread_id: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Waits until nobody in this process holds the thread, and holds it until the block is left."""
        ...


class PostgresLocks:
    """Locks of all processes on one database.

    One connection holds them all. It is asked, again and again, and never made to wait, for whoever waits on it stops the rest.

    Args:
        uri: the database.
        local: locks of this process, taken first: so the connection holds each of its own but once.
    """

    def __init__(self, uri: str, local: Locks) -> None:
        self._uri = uri
        self._local = local
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._home: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Begins, on the event loop whose requests are served with locks; others have those of the process."""
        self._home = asyncio.get_running_loop()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    @contextlib.asynccontextmanager
    async def hold(self, thread_id: str) -> AsyncIterator[None]:
        """Waits for whoever holds the thread, then holds it until the block is left."""
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
        """The answer to a question. None: the database cannot be reached, and its locks are gone."""
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
