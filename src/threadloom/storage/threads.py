"""Thread records in a storage."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.types import Thread, ThreadStatus, Ttl


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


class Threads(Protocol):
    """Thread records. Sorting ties keep the order of making."""

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        """Stores a new record, with its state if it has one.

        Args:
            fresh: the id was made just now, so no other transaction can ask for the thread before the commit. It is not
                locked then.

        Returns:
            False when the id is taken; nothing was stored then.
        """
        ...

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        """Returns the record, or None if there is none. Without `with_state` its `values_json` and `interrupts_json`
        are None.
        """
        ...

    async def newest_change(self) -> int | None:
        """Returns the latest `updated_at` of all threads, in microseconds since 1970; None if there is no thread."""
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
        """Sets the fields given; None leaves a field as it is. Does nothing if there is no such thread.

        Args:
            metadata: replaces the metadata as a whole; merging is the caller's.
            config: replaces the config as a whole.
        """
        ...

    async def set_state(
        self,
        thread_id: str,
        *,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        """Sets what the record shows of the state. Copies that share the old one keep it.

        Args:
            values_json: JSON, or None for no values.
            interrupts_json: JSON object of task ids to lists, or None.
            error: `{"error", "message"}`, or None.
        """
        ...

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None:
        """Sets or, with None, clears the error that the record shows. Values and interrupts stay."""
        ...

    async def share_state(self, source: str, target: str) -> None:
        """Lets `target` show the state that `source` shows. It is a reference: no payload is copied. Both threads
        exist.
        """
        ...

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None:
        """Sets or, with None, removes the time to live."""
        ...

    async def set_priority(self, thread_id: str, priority: int) -> None:
        """Sets the priority of the thread's runs: -5 (first) to 5 (last). Runs that exist keep theirs."""
        ...

    async def delete(self, thread_id: str) -> bool:
        """Removes the record alone; history, runs, events and crons are removed by their own methods.

        Returns:
            False when there was none.
        """
        ...

    async def permitted(self, thread_id: str, where: Filter | None) -> bool:
        """Returns whether the thread exists and its stored metadata match `where` (None: any). Decrypts nothing."""
        ...

    async def ttl(self, thread_id: str) -> Ttl | None:
        """Returns the time to live; None when there is none, or no thread."""
        ...

    async def copies(self, thread_id: str) -> list[str]:
        """Returns the ids of all threads that descend from a thread by copying, through deleted threads too, in no
        order.
        """
        ...

    async def search(self, query: ThreadQuery) -> list[Thread]:
        """Returns one page of the records that match, in the order that the query asks for."""
        ...

    async def count(self, query: ThreadQuery) -> int:
        """Returns how many records match; `limit`, `offset` and the order have no effect."""
        ...

    async def expired(self, now: int, limit: int) -> list[Thread]:
        """Returns at most `limit` threads whose time to live ended at or before `now` and that are not busy, the
        longest overdue first, without state.
        """
        ...
