"""One transaction on PostgreSQL, as the classes of the tables use it."""

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
"""A thread id that can be put into a statement's text without quoting. UUIDs match."""


def bound(statement: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns a statement with named parameters in PostgreSQL's form, and their values. See `storage.named.bound`."""
    text, values = named.bound(statement, row, "$")
    return (text, *values)


class MoreThanOne(BaseException):
    """A read that was to be a single statement has more of them: it is restarted on one snapshot.

    It is a BaseException, so that no `except Exception` on the way catches it.
    """


class Session:
    """A transaction that writes, or a read-only snapshot. It begins with its first statement.

    Args:
        connection: a connection of asyncpg that no other code uses meanwhile.
        begin: the statement that begins the transaction. None: no transaction, for a read of one statement.
        timeout: seconds that a statement may take; None for no limit.
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
        """Whether there may be a transaction to end: its begin was sent."""
        self.after: list[Callable[[], None]] = []
        """Functions to call after the commit."""

    async def _start(self) -> None:
        """Called before the first statement, and before each statement of a read that may have only one."""
        if self._begin is None:
            if self._used:
                raise MoreThanOne
            self._used = True
        else:
            self.begun = True
            await self._connection.execute(self._begin, timeout=self._timeout)
            self._ready = True

    async def execute(self, query: str, *values: Any) -> str:
        """Runs a statement. Returns its command tag, such as `UPDATE 1`."""
        if not self._ready:
            await self._start()
        tag: str = await self._connection.execute(query, *values, timeout=self._timeout)
        return tag

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """Returns all rows as asyncpg's records, by index and by name."""
        if not self._ready:
            await self._start()
        rows: list[Any] = await self._connection.fetch(query, *values, timeout=self._timeout)
        return rows

    async def fetchrow(self, query: str, *values: Any) -> Any:
        """Returns the first row, or None."""
        if not self._ready:
            await self._start()
        return await self._connection.fetchrow(query, *values, timeout=self._timeout)

    async def fetchval(self, query: str, *values: Any) -> Any:
        """Returns the first field of the first row, or None."""
        if not self._ready:
            await self._start()
        return await self._connection.fetchval(query, *values, timeout=self._timeout)

    async def lock_thread(self, thread_id: str) -> bool:
        """Locks a thread, so that other transactions that need this lock wait until this one ends.

        The rules of the server assume that transactions on one thread happen one after the other. So a writing transaction that
        reads or changes a record of a thread takes the thread's lock first, and reads after that. The lock is a statement of its
        own, because a statement that waits in the middle continues with what it saw before.

        Returns:
            False when the lock was held already, or this is no writing transaction.
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
        """Records locks that a statement has taken itself."""
        self._held.update(thread_ids)
