"""One PostgreSQL database: transactions from any thread, even while its event loop is blocked.

Connections belong to the event loop on which they were opened. Most are on the server's own loop. But leases must be renewed
while a graph blocks that loop, runs may have event loops of their own, and worker threads have none. All of these use a second
event loop, which runs only transactions, on a thread of its own.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import CodeType
from typing import Any, TypeVar

from threadloom.errors import StorageError
from threadloom.storage.postgres.connections import explained
from threadloom.storage.postgres.loop_pool import LoopPool, Operation
from threadloom.storage.postgres.migrate import migrate

T = TypeVar("T")


class PostgresDatabase:
    """Opens, reads and writes one database.

    Args:
        uri: the database, `postgresql://…`.
        connections: how many connections the server's loop opens at most; all other threads together may open half as many.
    """

    def __init__(self, uri: str, *, connections: int) -> None:
        self._uri = uri
        self._home = LoopPool(uri, connections)
        self._home_loop: asyncio.AbstractEventLoop | None = None
        self._aside = LoopPool(uri, max(2, connections // 2))
        self._aside_loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self.closing = False
        """Whether background work should end."""

    async def open(self) -> None:
        """Connects and migrates. Called on the event loop that most transactions will come from.

        Raises:
            StartError: the database was written by a newer release, or by a version that is no release.
            StorageError: the database cannot be reached.
        """
        self._home_loop = asyncio.get_running_loop()
        self.closing = False
        await self._home.open()
        try:
            async with explained(), self._home.connection() as connection:
                await migrate(connection)
        except BaseException:
            await self._home.close()
            raise

    async def close(self) -> None:
        """Waits for transactions in progress, then closes every connection."""
        with self._starting:
            self.closing = True
        if self._aside_loop is not None and self._thread is not None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aside.close(), self._aside_loop))
            self._aside_loop.call_soon_threadsafe(self._aside_loop.stop)
            await asyncio.to_thread(self._thread.join)
            self._aside_loop = self._thread = None
        await self._home.close()

    @property
    def loop_pool(self) -> LoopPool | None:
        """The connection pool of the running event loop; None if that is neither the server's loop nor the second one."""
        loop = asyncio.get_running_loop()
        if loop is self._home_loop:
            return self._home
        return self._aside if loop is self._aside_loop else None

    # --- from any event loop ---

    async def write(self, operation: Operation[T], *, heavy: bool = False) -> T:
        """See `LoopPool.write`."""
        if asyncio.get_running_loop() is self._home_loop:
            return await self._home.write(operation, heavy=heavy)
        return await asyncio.wrap_future(self.there(self._aside.write(operation, heavy=heavy)))

    async def read(self, operation: Operation[T], code: CodeType | None, *, heavy: bool = False) -> T:
        """See `LoopPool.read`."""
        if asyncio.get_running_loop() is self._home_loop:
            return await self._home.read(operation, code, heavy=heavy)
        return await asyncio.wrap_future(self.there(self._aside.read(operation, code, heavy=heavy)))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts background work on the pool of the running event loop; `close` waits for it."""
        lane = self.loop_pool
        assert lane is not None, "only what a lane runs has something to be done in the background"
        lane.start(work)

    # --- from threads without an event loop ---

    def write_now(self, operation: Operation[T]) -> T:
        """See `LoopPool.write`; blocks until the commit."""
        return self.there(self._aside.write(operation, heavy=True)).result()

    def read_now(self, operation: Operation[T], code: CodeType | None) -> T:
        """See `LoopPool.read`; blocks."""
        return self.there(self._aside.read(operation, code, heavy=True)).result()

    # --- the second event loop ---

    def there(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Runs a coroutine on the second event loop, which is started at the first call."""
        try:
            loop = self._aside_loop or self._start()
        except BaseException:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, loop)

    def call_in_background(self, function: Callable[[], None]) -> None:
        """Calls a function on the second event loop."""
        (self._aside_loop or self._start()).call_soon_threadsafe(function)

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self.closing or self._home_loop is None:
                raise StorageError("the database is closed")
            if self._aside_loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._live, args=(loop,), name="threadloom-postgres", daemon=True
                )
                self._thread.start()
                try:
                    asyncio.run_coroutine_threadsafe(self._aside.open(), loop).result()
                except BaseException:
                    loop.call_soon_threadsafe(loop.stop)
                    raise
                self._aside_loop = loop
            return self._aside_loop

    @staticmethod
    def _live(loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.close()
