"""Thread records in a storage."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.storage.rows import WITH_STATE, WITHOUT_STATE
from threadloom.types import Thread, ThreadStatus, Ttl

SORTED_BY: Mapping[str, str] = {
    name: f"t.{name}" for name in ("thread_id", "status", "created_at", "updated_at", "state_updated_at")
}
"""What each `sort_by` sorts by, of `threads t`. Ties keep the order of making."""


class ThreadQuery(msgspec.Struct, kw_only=True):
    """Which threads, in which order. Filters are joined with and; `metadata` and `values` by containment.

    `where` is what the caller may see at all.
    """

    where: Filter | None = None
    metadata: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    status: ThreadStatus | None = None
    ids: Sequence[str] | None = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "updated_at"
    descending: bool = True
    with_state: bool = True


def search(query: ThreadQuery, where: str, page: str) -> str:
    """The statement that finds threads; conditions and page (LIMIT, OFFSET) are as the database spells them, of `threads t`."""
    order = f"ORDER BY {SORTED_BY[query.sort_by]} {'DESC' if query.descending else 'ASC'}, t.seq"
    columns = WITH_STATE if query.with_state else WITHOUT_STATE
    state = "LEFT JOIN states s ON s.id = t.state_id" if query.with_state else ""
    # Rows are chosen by number first, so that sorting moves no documents about.
    chosen = f"SELECT t.seq AS seq FROM threads t {where} {order} {page}"
    return f"SELECT {columns} FROM ({chosen}) c JOIN threads t ON t.seq = c.seq {state} {order}"


class Threads(Protocol):
    """Thread records. Sorting ties keep the order of making."""

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        """False when the id is taken. `fresh`: the id was just made, so nobody else can ask for the thread before the commit."""
        ...

    async def insert_copies(self, record: Thread, metadata: Mapping[str, Mapping[str, Any]], *, state_of: str) -> None:
        """Inserts copies of one thread, whose ids nobody else can ask for yet: as many statements whatever their number.

        Args:
            record: what all of them are but for id and metadata, with what they are forked from. Its `…_json` are not stored.
            metadata: of each copy, by its id.
            state_of: the thread whose state they show (a reference, no bytes).
        """
        ...

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        """The record; without its `…_json` fields when `with_state` is false."""
        ...

    async def newest_change(self) -> int | None:
        """The latest `updated_at` of all threads, in microseconds; None without any thread."""
        ...

    async def update(
        self,
        thread_id: str,
        *,
        updated_at: int | None = None,
        state_updated_at: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        status: ThreadStatus | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Sets the fields given; None leaves one as it is."""
        ...

    async def set_state(
        self,
        thread_id: str,
        *,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        """Sets what the record shows of the state. Other threads that share the old one keep it."""
        ...

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None: ...

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None: ...

    async def set_priority(self, thread_id: str, priority: int) -> None:
        """Settles how urgent the runs of a thread are."""
        ...

    async def delete(self, thread_id: str) -> bool:
        """Removes the record alone. False when there was none. That copies descend from it stays known until they go too."""
        ...

    async def permitted(self, thread_id: str, where: Filter | None) -> bool:
        """Whether it is there and fits, judged by what is stored: nothing of it has to be opened."""
        ...

    async def ttl(self, thread_id: str) -> Ttl | None: ...

    async def copies(self, thread_id: str) -> list[str]:
        """Ids of all threads that descend from a thread by copying, also through threads that are gone."""
        ...

    async def search(self, query: ThreadQuery) -> list[Thread]: ...

    async def count(self, query: ThreadQuery) -> int:
        """How many there are, whatever `limit` and `offset` say."""
        ...

    async def expired(self, now: int, limit: int) -> list[Thread]:
        """Threads whose time to live is over and that are not busy, the longest overdue first, without state."""
        ...
