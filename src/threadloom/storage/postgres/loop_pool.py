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
"""How many seconds a statement may take that is not part of a heavy operation."""

PATIENCE_SECONDS = 5.0
"""How many seconds a database that cannot be reached is retried: about the length of a restart."""

TRIES = 20
"""How often a transaction that conflicted with others is retried."""


class LoopPool:
    """Runs transactions on the event loop on which it was opened.

    Args:
        uri: the database.
        size: maximum number of connections.
    """

    def __init__(self, uri: str, size: int) -> None:
        self._uri = uri
        self._size = size
        self._pool: Any = None
        self._working: set[asyncio.Task[Any]] = set()
        self._whole: set[CodeType] = set()

    async def open(self) -> None:
        """Opens the pool.

        Raises:
            StorageError: the database cannot be reached.
        """
        async with explained(), connecting():
            self._pool = await make_pool(self._uri, self._size)

    async def close(self) -> None:
        """Waits for transactions in progress, then closes the connections."""
        if self._pool is not None:
            while self._working:
                await asyncio.wait(self._working)
            await self._pool.close()
            self._pool = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Provides a connection for the block.

        Raises:
            ConnectionLost: no connection is available.
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
        """Runs a transaction and waits until it is committed. Cancelling the caller does not undo it.

        Raises:
            StorageError: the database refused, or cannot be reached. Nothing was stored. (If the connection was lost during the
                commit, it is unknown whether it was stored; the error's text says so.)
        """
        return await asyncio.shield(self.start(self._write(operation, None if heavy else STATEMENT_SECONDS)))

    def start(self, work: Any) -> asyncio.Task[Any]:
        """Starts background work as a task; `close` waits for it."""
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
        """Runs an operation whose only writing statement is a transaction of its own.

        The operation is retried when the connection was lost, so it has to check itself whether it was already carried out.

        Raises:
            StorageError: the database refused, or cannot be reached.
        """
        async with explained():
            return await self._again(lambda: self._once(operation, EACH, STATEMENT_SECONDS))

    # --- reading ---

    async def read(self, operation: Operation[T], code: CodeType | None, *, heavy: bool = False) -> T:
        """Runs a reading operation on one snapshot.

        Most have one statement, which is a snapshot of its own. An operation that turns out to have more is restarted within a
        transaction. The next time it starts in one, recognized by its code.

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
                    discard(connection)  # the result is already read
            return result

    async def _again(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Retries until it succeeds: after conflicts with other transactions, or while the database restarts."""
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
    """Rolls back the transaction of a failed operation.

    Raises:
        ConnectionLost: in place of any error that means that the connection is lost.
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
    """Commits the transaction.

    Raises:
        StorageError: the connection was lost meanwhile, or the transaction had failed before and its error was suppressed.
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
