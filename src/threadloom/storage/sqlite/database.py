"""One SQLite file: one writer thread that commits once for all that waited, and reads on the caller's own connection.

Why one writer: SQLite takes one at a time anyway, and a commit shared by many waiting operations is worth more than any
driver (storage design §2). Each operation runs in a savepoint of its own, so one that fails takes no other with it.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from threadloom.errors import StorageError

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
Functions = dict[str, tuple[int, Callable[..., Any]]]
"""SQL functions of ours: name -> (number of arguments, function)."""

BATCH = 256
"""Operations that share one commit at most, so that none waits long for the others."""


class Database:
    """Opens, reads and writes one SQLite file.

    Args:
        path: the file; its folder must exist.
        synchronous: `normal` keeps what was acknowledged when the process dies, `full` also when the power goes.
        functions: deterministic SQL functions to define on every connection.
    """

    def __init__(
        self, path: Path, *, synchronous: Literal["normal", "full"] = "normal", functions: Functions | None = None
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._functions = functions or {}
        self._queue: queue.SimpleQueue[tuple[Operation[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="threadloom-read")
        self._thread: threading.Thread | None = None

    def connect(self) -> sqlite3.Connection:
        """A new connection with our settings.

        Raises:
            StorageError: the file cannot be opened.
        """
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA busy_timeout = 5000")
            connection.execute("PRAGMA cache_size = -32768")
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error
        for name, (arguments, function) in self._functions.items():
            connection.create_function(name, arguments, function, deterministic=True)
        self._opened.append(connection)
        return connection

    def start(self) -> None:
        """Starts the writer thread."""
        self._thread = threading.Thread(target=self._write_forever, args=(self.connect(),), name="threadloom-writer")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        """Finishes what was handed in, then closes every connection. Blocks until then."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._pool.shutdown()
        for connection in self._opened:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        self._opened.clear()

    def submit(self, operation: Operation[T]) -> "Future[T]":
        """Hands an operation to the writer, from any thread. The future is done once it is committed.

        Raises (through the future):
            StorageError: the database refused; nothing of the operation was kept.
        """
        future: Future[T] = Future()
        self._queue.put((operation, future))
        return future

    async def write(self, operation: Operation[T]) -> T:
        """Runs an operation on the writer and waits until it is committed; not undone by the caller's cancellation."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(operation)))

    def read(self, operation: Operation[T]) -> T:
        """Runs a reading operation now, on this thread's own connection and in one snapshot."""
        connection: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if connection is None:
            connection = self._readers.connection = self.connect()
            connection.execute("PRAGMA query_only = ON")
        try:
            connection.execute("BEGIN")
            try:
                return operation(connection)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _explained(error) from error

    async def read_aside(self, operation: Operation[T]) -> T:
        """Runs a reading operation that may take long on a thread of its own, so that the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.read, operation)

    def _write_forever(self, connection: sqlite3.Connection) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            stop = False
            while len(batch) < BATCH and not self._queue.empty():
                job = self._queue.get()
                if job is None:
                    stop = True
                    break
                batch.append(job)
            self._commit(connection, batch)
            if stop:
                return

    def _commit(self, connection: sqlite3.Connection, batch: list[tuple[Operation[Any], Future[Any]]]) -> None:
        done: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for operation, future in batch:
                connection.execute("SAVEPOINT operation")
                try:
                    done.append((future, operation(connection), None))
                except Exception as error:
                    if not connection.in_transaction:
                        raise  # SQLite gave up the whole transaction (disk full, I/O error)
                    connection.execute("ROLLBACK TO operation")
                    done.append((future, None, error))
                connection.execute("RELEASE operation")
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            done = [(future, None, error) for _, future in batch]
        for future, result, failure in done:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(_explained(failure) if isinstance(failure, sqlite3.Error) else failure)


def _explained(error: sqlite3.Error) -> StorageError | sqlite3.Error:
    """The same error in words for an operator, where it speaks of the disk and not of our own statements."""
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and any(
        word in text for word in ("full", "readonly", "disk I/O", "locked", "unable to open")
    ):
        return StorageError(f"the database refused: {text}")
    return error
