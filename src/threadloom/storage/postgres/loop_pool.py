"""The connections of one event loop, and transactions on them."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import CodeType
from typing import Any, TypeVar

from threadloom.errors import StorageError
from threadloom.storage.postgres.connections import (
    AGAIN,
    ConnectionLost,
    connecting,
    discard,
    explained,
    is_gone,
    make_pool,
)
from threadloom.storage.postgres.session import BEGIN, EACH, SNAPSHOT, MoreThanOne, Session

T = TypeVar("T")
Operation = Callable[[Session], Awaitable[T]]

STATEMENT_SECONDS = 60.0
"""How long a statement may take that is not part of something heavy."""

PATIENCE_SECONDS = 5.0
"""How long a database that cannot be reached is tried again: about what a restart takes."""

TRIES = 20
"""How often a transaction is made again that others were in the way of."""


class LoopPool:
    """Runs transactions on the event loop that it was opened on.

    Args:
        uri: the database.
        size: connections at most.
    """

    def __init__(self, uri: str, size: int) -> None:
        self._uri = uri
        self._size = size
        self._pool: Any = None
        self._working: set[asyncio.Task[Any]] = set()
        self._whole: set[CodeType] = set()

    async def open(self) -> None:
        """
        Raises:
            StorageError: the database cannot be reached.
        """
        async with explained(), connecting():
            self._pool = await make_pool(self._uri, self._size)

    async def close(self) -> None:
        """Waits for what is on its way, then closes the connections."""
        if self._pool is not None:
            while self._working:
                await asyncio.wait(self._working)
            await self._pool.close()
            self._pool = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for the block.

        Raises:
            Lost: there is none to be had.
        """
        if self._pool is None:
            raise StorageError("the database is closed")
        async with connecting():
            connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    # --- writing ---

    async def write(self, operation: Operation[T], *, heavy: bool = False) -> T:
        """Runs a transaction and waits until it is committed; not undone by the caller's cancellation.

        Raises:
            StorageError: the database refused, or cannot be reached. Nothing was kept. (Of a connection that was lost in the
                very moment of the commit it cannot be told whether something was; the text says so.)
        """
        return await asyncio.shield(self.start(self._write(operation, None if heavy else STATEMENT_SECONDS)))

    def start(self, work: Any) -> asyncio.Task[Any]:
        """Lets something run to its end, which `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return task

    async def _write(self, operation: Operation[T], seconds: float | None) -> T:
        async with explained():
            return await self._again(lambda: self._write_once(operation, seconds))

    async def _write_once(self, operation: Operation[T], seconds: float | None) -> T:
        async with self.connection() as connection:
            session = Session(connection, BEGIN, timeout=seconds)
            async with _undone_on_failure(connection, session):
                result = await operation(session)
            if session.begun:
                await _commit(connection)
        for follow in session.after:
            follow()
        return result

    async def write_statement(self, operation: Operation[T]) -> T:
        """Runs an operation of which the one statement that writes is a transaction of its own.

        The operation is made again when the connection was lost, so it has to find out by itself whether it was carried out.

        Raises:
            StorageError: the database refused, or cannot be reached.
        """
        async with explained():
            return await self._again(lambda: self._once(operation, EACH, STATEMENT_SECONDS))

    # --- reading ---

    async def read(self, operation: Operation[T], code: CodeType | None, *, heavy: bool = False) -> T:
        """Runs a reading operation on one snapshot.

        Most are of one statement, which is a snapshot of its own. One that turns out to be more is begun again, within a
        transaction; and so from the start the next time, known by its code.

        Raises:
            StorageError: the database refused, or cannot be reached.
        """
        seconds = None if heavy else STATEMENT_SECONDS
        async with explained():
            if code is not None and code not in self._whole:
                try:
                    return await self._again(lambda: self._once(operation, None, seconds))
                except MoreThanOne:
                    self._whole.add(code)
            return await self._again(lambda: self._once(operation, SNAPSHOT, seconds))

    async def _once(self, operation: Operation[T], begin: str | None, seconds: float | None) -> T:
        async with self.connection() as connection:
            session = Session(connection, begin, timeout=seconds)
            async with _undone_on_failure(connection, session):
                result = await operation(session)
            if session.begun:
                try:
                    await connection.execute("COMMIT")
                except Exception:
                    discard(connection)  # what was read is read
            return result

    async def _again(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Tries until it works: when others were in the way, or for as long as a database takes to come back."""
        patience = time.monotonic() + PATIENCE_SECONDS
        tries = 0
        while True:
            try:
                return await attempt()
            except AGAIN:
                tries += 1
                if tries >= TRIES:
                    raise
            except ConnectionLost:
                tries += 1
                if time.monotonic() > patience:
                    raise
            await asyncio.sleep(random.uniform(0.5, 1) * min(0.5, 0.01 * 2**tries))


@contextlib.asynccontextmanager
async def _undone_on_failure(connection: Any, session: Session) -> AsyncIterator[None]:
    """Ends the transaction of a failed operation.

    Raises:
        Lost: in place of any error that means that the connection is.
    """
    try:
        yield
    except BaseException as error:
        if is_gone(error, connection):
            discard(connection)
            raise ConnectionLost(f"the connection was lost: {error}") from error
        if session.begun:
            try:
                await connection.execute("ROLLBACK")
            except BaseException:
                discard(connection)
        raise


async def _commit(connection: Any) -> None:
    """
    Raises:
        StorageError: the connection was lost meanwhile, or the transaction had failed before, which somebody kept to himself.
    """
    try:
        tag = await connection.execute("COMMIT", timeout=STATEMENT_SECONDS)
    except BaseException as error:
        if is_gone(error, connection):
            discard(connection)
            raise StorageError(
                f"the connection was lost while committing, so it may have been kept or not: {error}"
            ) from error
        raise
    if tag != "COMMIT":
        raise StorageError("the transaction had failed before its end")
