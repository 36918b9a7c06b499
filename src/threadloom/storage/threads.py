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
        """False when the id is taken. `fresh`: the id was just made, so nobody else can ask for the thread before the commit."""
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

    async def share_state(self, source: str, target: str) -> None:
        """Lets `target` show the very state that `source` shows (a reference, no bytes)."""
        ...

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None: ...

    async def set_priority(self, thread_id: str, priority: int) -> None:
        """Settles how urgent the runs of a thread are."""
        ...

    async def delete(self, thread_id: str) -> bool:
        """Removes the record alone. False when there was none. Its copies become copies of what it was a copy of."""
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
