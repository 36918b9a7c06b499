"""One transaction on PostgreSQL, as the tables see it."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from threadloom.storage import named

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
EACH = ""
"""No transaction: each statement is one by itself."""

_LOCK = "SELECT pg_advisory_xact_lock(tl_key($1))"
_LITERAL = re.compile(r"[0-9A-Za-z_-]+")
"""A thread id that can stand in a statement's text as it is. UUIDs are like that."""


def bound(statement: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A statement with named parameters as PostgreSQL takes it, and their values. See `storage.named.bound`."""
    text, values = named.bound(statement, row, "$")
    return (text, *values)


class MoreThanOne(BaseException):
    """A read that was to be a single statement turned out to be more: it is begun anew, on one snapshot.

    A BaseException, so that no `except Exception` on its way keeps it.
    """


class Session:
    """A transaction that writes, or a snapshot that is only read from. It begins with its first statement.

    Args:
        connection: a connection of asyncpg's that nobody else uses meanwhile.
        begin: how the transaction begins. None: with nothing, for it is a read of one statement, which needs none.
        timeout: seconds that a statement may take; None is for ever.
    """

    def __init__(self, connection: Any, begin: str | None, *, timeout: float | None = None) -> None:
        self._connection = connection
        self._begin = begin
        self._timeout = timeout
        self._held: set[str] = set()
        self._used = False
        self._ready = begin == EACH
        self.writes = begin in (BEGIN, EACH)
        self.begun = False
        """Whether there may be a transaction to be ended: its begin was sent."""
        self.after: list[Callable[[], None]] = []
        """What is to be done once it is committed."""

    async def _start(self) -> None:
        """Before the first statement, and before each of a read that is to have but one."""
        if self._begin is None:
            if self._used:
                raise MoreThanOne
            self._used = True
        else:
            self.begun = True
            await self._connection.execute(self._begin, timeout=self._timeout)
            self._ready = True

    async def execute(self, query: str, *values: Any) -> str:
        """Runs a statement. Gives its tag: `UPDATE 1`."""
        if not self._ready:
            await self._start()
        tag: str = await self._connection.execute(query, *values, timeout=self._timeout)
        return tag

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """All rows, as asyncpg's records: by place and by name."""
        if not self._ready:
            await self._start()
        rows: list[Any] = await self._connection.fetch(query, *values, timeout=self._timeout)
        return rows

    async def fetchrow(self, query: str, *values: Any) -> Any:
        """The first row, or None."""
        if not self._ready:
            await self._start()
        return await self._connection.fetchrow(query, *values, timeout=self._timeout)

    async def fetchval(self, query: str, *values: Any) -> Any:
        """The first field of the first row, or None."""
        if not self._ready:
            await self._start()
        return await self._connection.fetchval(query, *values, timeout=self._timeout)

    async def lock_thread(self, thread_id: str) -> bool:
        """Makes everybody else who wants this lock wait until the transaction ends.

        The rules of the server are written as if one wrote after the other. They do, for each thread: whatever reads or
        changes a record of a thread in a transaction that writes takes the thread's lock first, and reads after that. It is
        a statement of its own, for one that waited in the middle would go on with what it saw before.

        Returns:
            False when it was held already, or nothing is written here.
        """
        if not self.writes or thread_id in self._held:
            return False
        if not self._ready and _LITERAL.fullmatch(thread_id):
            query = f"{self._begin}; SELECT pg_advisory_xact_lock(tl_key('{thread_id}'))"
            self.begun = True
            await self._connection.execute(query, timeout=self._timeout)
            self._ready = True
        else:
            await self.execute(_LOCK, thread_id)
        self._held.add(thread_id)
        return True

    def holds(self, thread_ids: Iterable[str]) -> None:
        """Notes locks that a statement took by itself."""
        self._held.update(thread_ids)
