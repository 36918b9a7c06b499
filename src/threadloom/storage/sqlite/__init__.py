"""Storage in one SQLite file: `threadloom.db` in the data folder, locked by the process that uses it."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeVar

import orjson

from threadloom.codec import contains
from threadloom.errors import StorageError
from threadloom.storage.drive import drive
from threadloom.storage.named import load
from threadloom.storage.ranking import SharedVectors
from threadloom.storage.sqlite.database import Functions, SqliteDatabase
from threadloom.storage.sqlite.filters import permitted
from threadloom.storage.sqlite.maintenance import FILE, apply_requests, locked, recognise, set_aside
from threadloom.storage.sqlite.migrate import migrate
from threadloom.storage.sqlite.tx import SqliteTx

__all__ = ["SqliteStorage"]

T = TypeVar("T")


def _contains(document: str | bytes | None, wanted: str | bytes) -> bool:
    """The SQL function `contains(document, wanted)`: JSON containment. NULL contains nothing."""
    return document is not None and contains(orjson.loads(document), orjson.loads(wanted))


NEWEST_ID = """
SELECT max(coalesce((SELECT max(id) FROM blobs), 0), coalesce((SELECT max(id) FROM event_values), 0))
"""

PROBE = load(__package__, "maintenance.sql")["probe"]

FUNCTIONS: Functions = {"contains": (2, _contains), "permitted": (2, permitted), "casefold": (1, str.casefold)}
"""The SQL functions that the server defines: JSON containment, filters, and case folding (SQLite's own functions know only
ASCII)."""


class SqliteStorage:
    """All data of the server, in `folder/threadloom.db`.

    Args:
        folder: the data folder; created if it does not exist.
        synchronous: with `normal`, committed data survive the end of the process; with `full`, also a power failure.
    """

    def __init__(self, folder: Path, *, synchronous: Literal["normal", "full"] = "normal") -> None:
        self._folder = folder
        self._lock = contextlib.ExitStack()
        self.database = SqliteDatabase(folder / FILE, synchronous=synchronous, functions=FUNCTIONS)
        self._blob_ids = itertools.count(1)
        self._vectors = SharedVectors()
        # One SqliteTx for each connection; a connection is used by one thread at a time.
        self._transactions: dict[sqlite3.Connection, SqliteTx] = {}

    async def open(self) -> None:
        self._lock.enter_context(locked(self._folder))
        try:
            apply_requests(self._folder)
            recognise(self.database.path)
            connection = self.database.connect()
            migrate(connection, before=self._set_aside)
            newest = connection.execute(NEWEST_ID).fetchone()[0]
        except BaseException as error:
            await self.close()
            if isinstance(error, sqlite3.Error):
                raise StorageError(f"{self.database.path}: {error}") from error
            raise
        self._blob_ids = itertools.count(newest + 1)
        self.database.start()

    async def close(self) -> None:
        self.database.close()
        self._transactions.clear()
        self._lock.close()

    def _set_aside(self, connection: sqlite3.Connection) -> None:
        set_aside(connection, self.database.path)

    def _tx(self, connection: sqlite3.Connection) -> SqliteTx:
        tx = self._transactions.get(connection)
        if tx is None:
            tx = self._transactions[connection] = SqliteTx(connection, self._vectors)
        return tx

    async def write(self, work: Callable[[SqliteTx], Awaitable[T]], *, heavy: bool = False, single: bool = False) -> T:
        return await self.database.write(lambda connection: drive(work, self._tx(connection)), heavy=heavy)

    def defer(
        self, work: Callable[[SqliteTx], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> "asyncio.Future[None] | None":
        return self.database.defer(lambda connection: drive(work, self._tx(connection)), failed)

    async def read(self, work: Callable[[SqliteTx], Awaitable[T]], *, heavy: bool = False, deferred: bool = True) -> T:
        if heavy:
            return await self.database.read_in_thread(lambda connection: drive(work, self._tx(connection)))
        return self.database.read(lambda connection: drive(work, self._tx(connection)), deferred=deferred)

    async def size(self) -> int:
        path = self.database.path

        def measure() -> int:
            files = (path, path.with_name(path.name + "-wal"))
            return sum(file.stat().st_size for file in files if file.exists())

        return await asyncio.to_thread(measure)

    async def probe(self) -> None:
        if not self.database.wrote_recently():
            await self.database.write(lambda connection: connection.execute(PROBE) and None)

    def write_now(self, work: Callable[[SqliteTx], Awaitable[T]], *, single: bool = False) -> T:
        """Does what `write` does, for a thread without a running event loop. Blocks until the commit."""
        return self.database.submit(lambda connection: drive(work, self._tx(connection))).result()

    def read_now(self, work: Callable[[SqliteTx], Awaitable[T]]) -> T:
        """Does what `read` does, for a thread without a running event loop."""
        return self.database.read(lambda connection: drive(work, self._tx(connection)))

    def new_blob_id(self) -> int:
        return next(self._blob_ids)
