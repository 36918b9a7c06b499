"""What every storage does with stored events."""

from collections.abc import Collection, Sequence
from typing import Protocol

from threadloom.types import METHODS, Event

PAGE_BYTES = 1024 * 1024
"""Bytes of a page of events."""


class Events(Protocol):
    """Stored events: one gapless log a thread.

    Pages have at most `limit` events, and end with the one that makes them `size` bytes; None: whatever their size.
    """

    async def append(self, events: Sequence[Event]) -> list[Event]:
        """Stores events of one thread in order and gives them back with their `seq`."""
        ...

    async def of_run(
        self, run_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        """Events of a run whose `(ms, n)` is greater, oldest first."""
        ...

    async def last_of_run(self, run_id: str) -> tuple[int, int, int] | None:
        """`(ms, n, seq)` of the newest event that `of_run` would give; None: there is none."""
        ...

    async def of_thread(
        self, thread_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        """Events of all runs of a thread whose `(ms, n)` is greater, oldest first."""
        ...

    async def of_channels(
        self,
        thread_id: str,
        *,
        after: int,
        upto: int | None = None,
        methods: Collection[str] = METHODS,
        run_id: str | None = None,
        limit: int = 1000,
        size: int | None = PAGE_BYTES,
    ) -> list[Event]:
        """The v2 events of a thread (or of one of its runs) with `after < seq <= upto`, oldest first."""
        ...

    async def last_channel_seq(self, thread_id: str) -> int:
        """The number of the newest v2 event that the thread ever had, 0 before the first."""
        ...

    async def floor(self, thread_id: str) -> int:
        """The number up to which v2 events of the thread may be gone."""
        ...

    async def expire(self, run_id: str, at: int) -> None:
        """Lets the events of a run that ended go at a moment. Its v2 events of lives and questions stay."""
        ...

    async def expire_log(self, thread_id: str, at: int) -> None:
        """Lets all events of a thread that is gone go at a moment, and its numbers with them. Those of runs that ended earlier go
        earlier."""
        ...

    async def drop_of_run(self, run_id: str) -> None: ...

    async def drop_expired(self, now: int) -> int: ...

    async def trim(self, thread_id: str, keep: int) -> None:
        """Keeps the newest `keep` events of a thread; 0: the thread is gone, and its numbers may start anew."""
        ...
