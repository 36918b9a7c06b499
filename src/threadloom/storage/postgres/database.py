"""One PostgreSQL database: transactions from any thread, whatever its event loop is doing.

Connections belong to the event loop they were made on. The server's own loop has most. But leases have to be renewed while a
graph blocks that loop, runs may have loops of their own, and worker threads have none: for all of these there is a second
loop, which runs nothing but transactions on a thread of its own.
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
        uri: where it is, `postgresql://…`.
        connections: how many the server's loop opens at most; all other threads together may open half as many.
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
        """Whether what goes on in the background should come to its end."""

    async def open(self) -> None:
        """Connects and migrates, on the event loop that most will be asked from.

        Raises:
            StartError: the database is of a newer release, or of none.
            StorageError: it cannot be reached.
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
        """Waits for what is on its way, then closes every connection."""
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
        """The lane of the running event loop, None if that is neither of the two."""
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
        """Lets something run on the lane of the running event loop; `close` waits for it."""
        lane = self.loop_pool
        assert lane is not None, "only what a lane runs has something to be done in the background"
        lane.start(work)

    # --- from threads without one ---

    def write_now(self, operation: Operation[T]) -> T:
        """See `LoopPool.write`; blocks until it is committed."""
        return self.there(self._aside.write(operation, heavy=True)).result()

    def read_now(self, operation: Operation[T], code: CodeType | None) -> T:
        """See `LoopPool.read`; blocks."""
        return self.there(self._aside.read(operation, code, heavy=True)).result()

    # --- the loop aside ---

    def there(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Lets something run on the loop aside, which is started when it is first needed."""
        try:
            loop = self._aside_loop or self._start()
        except BaseException:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, loop)

    def call_in_background(self, function: Callable[[], None]) -> None:
        """Calls a function on the loop aside."""
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
