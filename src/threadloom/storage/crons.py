"""Crons in a storage."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from threadloom.clock import from_iso
from threadloom.storage.filters import Filter
from threadloom.types import Cron

SORTED_BY: Mapping[str, str] = {
    "cron_id": "cron_id",
    "assistant_id": "assistant_id",
    "thread_id": "thread_id",
    "next_run_date": "next_run_date",
    "end_time": "ends_at",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
"""The column for each `sort_by`. Ties keep the order of creation."""


class CronQuery(msgspec.Struct, kw_only=True):
    """The conditions, page and order of a search for crons. Nulls come last in ascending order.

    `where` is the caller's filter on crons. `threads` is the caller's filter on threads: a cron that has a thread matches only if
    the thread does.
    """

    where: Filter | None = None
    threads: Filter | None = None
    assistant_id: str | None = None
    thread_id: str | None = None
    enabled: bool | None = None
    metadata: Mapping[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True


def order(query: CronQuery) -> str:
    """Returns the ORDER BY of a page of crons."""
    direction, nulls = ("DESC", "FIRST") if query.descending else ("ASC", "LAST")
    return f"ORDER BY {SORTED_BY[query.sort_by]} {direction} NULLS {nulls}, seq {direction}"


def ends_at(cron: Cron) -> int | None:
    """Returns the end of a cron as a moment in microseconds, for sorting."""
    return None if cron.end_time is None else from_iso(cron.end_time)


class Crons(Protocol):
    """Crons. The process whose call of `advance` moves `next_run_date` fires the cron."""

    async def insert(self, cron: Cron) -> None:
        """Stores a new cron. Its id is not taken."""
        ...

    async def get(self, cron_id: str) -> Cron | None:
        """Returns a cron, or None. In a writing transaction it is locked against changes by others until the transaction ends."""
        ...

    async def update(self, cron: Cron) -> None:
        """Writes the fields that a caller can change, and `next_run_date`. What `advance` and `note` write is not
        changed. Does nothing if there is no such cron.
        """
        ...

    async def due(self, now: int, limit: int) -> list[Cron]:
        """Returns at most `limit` enabled crons whose `next_run_date` is not after `now`, the longest overdue first.
        Takes no lock: `advance` decides who fires.
        """
        ...

    async def scheduled_after(self, moment: int, *, beyond: str, limit: int) -> list[Cron]:
        """Returns enabled crons with a `next_run_date` that were fired or changed after a moment (microseconds),
        ordered by id.

        Args:
            beyond: only ids greater than this; `""` begins.
        """
        ...

    async def advance(self, cron_id: str, *, expected: int, following: int | None, fired_at: int | None = None) -> bool:
        """Moves `next_run_date` to the next date, if it is still `expected` and the cron is enabled. Of several processes one
        succeeds; that process fires the cron.

        Args:
            expected: the date that was read (microseconds).
            following: the next date, None for never.
            fired_at: the moment of the firing, if the cron fires.

        Returns:
            False when another process was first, or the cron was deleted or disabled.
        """
        ...

    async def note(self, cron_id: str, *, run_id: str | None, error: str | None) -> None:
        """Stores the result of the latest firing: the run that it created, or the error. The other field becomes None."""
        ...

    async def delete(self, cron_id: str) -> bool:
        """Removes a cron. Returns False when there was none."""
        ...

    async def delete_of_thread(self, thread_id: str) -> int:
        """Removes the crons of a thread. Returns how many."""
        ...

    async def delete_of_assistant(self, assistant_id: str) -> int:
        """Removes the crons of an assistant. Returns how many."""
        ...

    async def search(self, query: CronQuery) -> list[Cron]:
        """Returns one page of crons. Equal sort keys keep the order of creation."""
        ...

    async def count(self, query: CronQuery) -> int:
        """Returns how many crons match; `limit`, `offset` and the order have no effect."""
        ...
