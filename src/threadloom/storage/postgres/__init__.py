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
from threadloom.storage.ranking import SharedVectors

__all__ = ["PostgresStorage"]

log = logging.getLogger("threadloom.storage")

T = TypeVar("T")
Work = Callable[[PostgresTx], Awaitable[T]]

SIZE = "SELECT pg_database_size(current_database())"
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

BLOB_RANGE = 2**38
"""How many blob ids each process draws at once and then assigns itself. At a thousand a second a range lasts eight years, and
there are 2^25 ranges."""


class PostgresStorage:
    """All data of the server, in the schema `threadloom` of a database.

    Args:
        uri: the database, `postgresql://…`.
        connections: how many connections the server's event loop may open. Worker threads and the event loops of runs share half
            as many more.
    """

    def __init__(self, uri: str, *, connections: int = 10) -> None:
        self.database = PostgresDatabase(uri, connections=connections)
        self._puts = PutBatcher(self.database)
        self._edges = PostgresEdges()
        self._vectors = SharedVectors()
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
        """Always None: a transaction has a connection of its own here, so it cannot share a commit with others."""

    async def read(self, work: Work[T], *, heavy: bool = False, deferred: bool = True) -> T:
        code = getattr(work, "__code__", None)
        return await self.database.read(lambda session: work(self._tx(session)), code, heavy=heavy)

    async def size(self) -> int:
        size: int = await self.database.read(lambda session: session.fetchval(SIZE), None)
        return size

    async def probe(self) -> None:
        await self.database.read(lambda session: session.fetchval(NOW), None)

    def write_now(self, work: Work[T], *, single: bool = False) -> T:
        """Does what `write` does, for a thread without a running event loop. Blocks until the commit."""
        if single:
            return drive(work, cast(PostgresTx, PutTx(self._puts, now=True)))
        return self.database.write_now(lambda session: work(self._tx(session)))

    def read_now(self, work: Work[T]) -> T:
        """Does what `read` does, for a thread without a running event loop. Blocks."""
        code = getattr(work, "__code__", None)
        return self.database.read_now(lambda session: work(self._tx(session)), code)

    async def now(self) -> int:
        """Returns the database's time in microseconds since 1970 (UTC).

        Raises:
            StorageError: the database cannot be reached.
        """
        moment: int = await self.database.read(lambda session: session.fetchval(NOW), None)
        return moment

    def new_blob_id(self) -> int:
        return next(self._blob_ids)

    # --- freeing segments that were too long to be freed at once ---

    def _collect_later(self) -> None:
        self.database.in_background(self._collect())

    async def _collect(self) -> None:
        """Frees dead segments in portions, each in a transaction of its own. The next process that starts frees what is left
        over.
        """
        try:
            while not self.database.closing and await self.database.write(
                lambda session: session.fetchval(CUTS["collect_dead"], AT_ONCE)
            ):
                pass
        except StorageError as error:
            log.warning("what deleted threads left behind is still there: %s", error)
