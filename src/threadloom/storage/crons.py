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
"""What each `sort_by` sorts by. Ties keep the order of making."""


class CronQuery(msgspec.Struct, kw_only=True):
    """Which crons, in which order. Nulls come last in ascending order.

    `where` is what the caller may see at all, `threads` of whose threads: of the crons that have one, only those with such a
    thread count.
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
    """The order of a page of crons."""
    direction, nulls = ("DESC", "FIRST") if query.descending else ("ASC", "LAST")
    return f"ORDER BY {SORTED_BY[query.sort_by]} {direction} NULLS {nulls}, seq {direction}"


def ends_at(cron: Cron) -> int | None:
    """When a cron ends, as a moment to sort by."""
    return None if cron.end_time is None else from_iso(cron.end_time)


class Crons(Protocol):
    """Crons. Whoever moves `next_run_date` on with `advance` is the one that fires."""

    async def insert(self, cron: Cron) -> None: ...

    async def get(self, cron_id: str) -> Cron | None: ...

    async def update(self, cron: Cron) -> None:
        """Writes what a caller can change, and the next date; what `advance` and `note` write stays."""
        ...

    async def due(self, now: int, limit: int) -> list[Cron]:
        """Enabled crons whose date has come, the longest overdue first."""
        ...

    async def reckoned_after(self, moment: int, *, beyond: str, limit: int) -> list[Cron]:
        """Enabled crons with a date that were fired or changed after a moment, by id from one on."""
        ...

    async def advance(self, cron_id: str, *, expected: int, following: int | None, fired_at: int | None = None) -> bool:
        """Moves the date on if it is still the expected one and the cron still enabled. False: another one did it.

        `fired_at` is the moment of the firing, if this is one.
        """
        ...

    async def note(self, cron_id: str, *, run_id: str | None, error: str | None) -> None:
        """Writes down what the latest firing led to."""
        ...

    async def delete(self, cron_id: str) -> bool: ...

    async def delete_of_thread(self, thread_id: str) -> int:
        """Removes the crons of a thread that goes. Gives how many."""
        ...

    async def delete_of_assistant(self, assistant_id: str) -> int:
        """Removes the crons of an assistant that goes. Gives how many."""
        ...

    async def search(self, query: CronQuery) -> list[Cron]: ...

    async def count(self, query: CronQuery) -> int: ...
