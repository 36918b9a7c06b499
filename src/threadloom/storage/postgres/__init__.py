"""Storage in a PostgreSQL database, which any number of processes share."""

import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from threadloom.errors import StorageError
from threadloom.storage.drive import drive
from threadloom.storage.postgres.database import PostgresDatabase
from threadloom.storage.postgres.edges import PostgresEdges
from threadloom.storage.postgres.puts import PutBatcher, PutTx
from threadloom.storage.postgres.segments import AT_ONCE, CUTS
from threadloom.storage.postgres.session import Session
from threadloom.storage.postgres.tx import PostgresTx
from threadloom.storage.vectors import VectorCache

__all__ = ["PostgresStorage"]

log = logging.getLogger("threadloom.storage")

T = TypeVar("T")
Work = Callable[[PostgresTx], Awaitable[T]]

NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

BLOB_RANGE = 2**38
"""Ids of blobs that each process gives by itself. A thousand a second last for eight years, and there are 2^25 such ranges."""


class PostgresStorage:
    """Everything the server keeps, in the schema `threadloom` of a database.

    Args:
        uri: where it is, `postgresql://…`.
        connections: how many this process may open; worker threads and loops of their own together half as many more.
    """

    def __init__(self, uri: str, *, connections: int = 10) -> None:
        self.database = PostgresDatabase(uri, connections=connections)
        self._puts = PutBatcher(self.database)
        self._edges = PostgresEdges()
        self._vectors = VectorCache()
        self._blob_ids = itertools.count(1)

    async def open(self) -> None:
        await self.database.open()
        try:
            first = await self.database.write(lambda session: session.fetchval("SELECT nextval('blob_ranges')"))
        except BaseException:
            await self.close()
            raise
        self._blob_ids = itertools.count(first * BLOB_RANGE)
        self._collect_later()

    async def close(self) -> None:
        await self.database.close()

    def _tx(self, session: Session) -> PostgresTx:
        return PostgresTx(session, self._edges, self._vectors, self._collect_later)

    async def write(self, work: Work[T], *, heavy: bool = False, single: bool = False) -> T:
        if single:
            return await work(cast(PostgresTx, PutTx(self._puts)))
        return await self.database.write(lambda session: work(self._tx(session)), heavy=heavy)

    def defer(self, work: Work[None], failed: Callable[[Exception], None]) -> None:
        """A transaction takes a connection of its own: nothing goes along with others."""

    async def read(self, work: Work[T], *, heavy: bool = False, deferred: bool = True) -> T:
        code = getattr(work, "__code__", None)
        return await self.database.read(lambda session: work(self._tx(session)), code, heavy=heavy)

    async def probe(self) -> None:
        await self.database.read(lambda session: session.fetchval(NOW), None)

    def write_now(self, work: Work[T], *, single: bool = False) -> T:
        """The same as `write`, for a thread that runs no event loop: blocks until it is committed."""
        if single:
            return drive(work, cast(PostgresTx, PutTx(self._puts, now=True)))
        return self.database.write_now(lambda session: work(self._tx(session)))

    def read_now(self, work: Work[T]) -> T:
        """The same as `read`, for a thread that runs no event loop."""
        code = getattr(work, "__code__", None)
        return self.database.read_now(lambda session: work(self._tx(session)), code)

    async def now(self) -> int:
        """The database's own time, in microseconds since 1970 (UTC).

        Raises:
            StorageError: it cannot be reached.
        """
        moment: int = await self.database.read(lambda session: session.fetchval(NOW), None)
        return moment

    def new_blob_id(self) -> int:
        return next(self._blob_ids)

    # --- freeing what was too much to be freed at once ---

    def _collect_later(self) -> None:
        self.database.in_background(self._collect())

    async def _collect(self) -> None:
        """Frees dead segments bit by bit, each in a transaction of its own. What is left over, the next process to start does."""
        try:
            while not self.database.closing and await self.database.write(
                lambda session: session.fetchval(CUTS["collect_dead"], AT_ONCE)
            ):
                pass
        except StorageError as error:
            log.warning("what deleted threads left behind is still there: %s", error)
