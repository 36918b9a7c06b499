"""Storage in one SQLite file: `threadloom.db` in the data folder, locked by the process that uses it."""

import contextlib
import fcntl
import itertools
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Literal, TypeVar

import orjson

from threadloom.codec import contains
from threadloom.errors import StartError, StorageError
from threadloom.storage.sqlite.database import Database, Functions
from threadloom.storage.sqlite.migrate import migrate
from threadloom.storage.sqlite.tx import SqliteTx, drive
from threadloom.storage.sqlite.vectors import VectorCache

__all__ = ["SqliteStorage"]

T = TypeVar("T")

FILE = "threadloom.db"


def _contains(document: str | bytes | None, wanted: str | bytes) -> bool:
    """The SQL function `contains(document, wanted)`: JSON containment; NULL contains nothing."""
    return document is not None and contains(orjson.loads(document), orjson.loads(wanted))


FUNCTIONS: Functions = {"contains": (2, _contains), "casefold": (1, str.casefold)}
"""SQL functions of ours: JSON containment, and text for case-blind comparison (SQLite's own know ASCII only)."""


class SqliteStorage:
    """Everything the server keeps, in `folder/threadloom.db`.

    Args:
        folder: the data folder; made when it is not there.
        synchronous: `normal` keeps what was acknowledged when the process dies, `full` also when the power goes.
    """

    kind: Literal["sqlite", "postgres"] = "sqlite"

    def __init__(self, folder: Path, *, synchronous: Literal["normal", "full"] = "normal") -> None:
        self._folder = folder
        self._lock: IO[str] | None = None
        self.database = Database(folder / FILE, synchronous=synchronous, functions=FUNCTIONS)
        self._blob_ids = itertools.count(1)
        self._vectors = VectorCache()
        # One SqliteTx a connection; a connection is used by one thread at a time.
        self._transactions: dict[sqlite3.Connection, SqliteTx] = {}

    async def open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / "lock").open("a+")
        except OSError as error:
            raise StartError(f"The data folder {self._folder} cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise StartError(f"The data folder {self._folder} is in use by another process (id {holder}).") from error
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        connection = self.database.connect()
        try:
            migrate(connection)
            newest = connection.execute("SELECT coalesce(max(id), 0) FROM blobs").fetchone()[0]
        except sqlite3.Error as error:
            raise StorageError(f"{self.database.path}: {error}") from error
        self._blob_ids = itertools.count(newest + 1)
        self.database.start()

    async def close(self) -> None:
        self.database.close()
        self._transactions.clear()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.close()
            self._lock = None

    def _tx(self, connection: sqlite3.Connection) -> SqliteTx:
        tx = self._transactions.get(connection)
        if tx is None:
            tx = self._transactions[connection] = SqliteTx(connection, self._vectors)
        return tx

    async def write(self, work: Callable[[SqliteTx], Awaitable[T]], *, heavy: bool = False) -> T:
        return await self.database.write(lambda connection: drive(work, self._tx(connection)), heavy=heavy)

    async def read(self, work: Callable[[SqliteTx], Awaitable[T]], *, heavy: bool = False) -> T:
        if heavy:
            return await self.database.read_aside(lambda connection: drive(work, self._tx(connection)))
        return self.database.read(lambda connection: drive(work, self._tx(connection)))

    def write_now(self, work: Callable[[SqliteTx], Awaitable[T]]) -> T:
        """The same as `write`, for a thread that is no event loop: blocks until it is committed."""
        return self.database.submit(lambda connection: drive(work, self._tx(connection))).result()

    def read_now(self, work: Callable[[SqliteTx], Awaitable[T]]) -> T:
        """The same as `read`, for a thread that is no event loop."""
        return self.database.read(lambda connection: drive(work, self._tx(connection)))

    def new_blob_id(self) -> int:
        return next(self._blob_ids)
