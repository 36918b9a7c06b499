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
        """Stores events of one thread, in order, after those that are stored.

        Returns:
            The events with their `seq`, which has no gaps within a thread. Ids (`ms`, `n`) that would not be greater
            than the thread's last one are moved past it.
        """
        ...

    async def of_run(
        self, run_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        """Returns one page of the events of a run whose `(ms, n)` is greater than `after`, the oldest first."""
        ...

    async def last_of_run(self, run_id: str) -> tuple[int, int, int] | None:
        """Returns `(ms, n, seq)` of the newest event that `of_run` would return; None if there is none."""
        ...

    async def of_thread(
        self, thread_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        """Returns one page of the events of all runs of a thread whose `(ms, n)` is greater than `after`, the oldest
        first.
        """
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
        """Returns one page of the v2 events of a thread with `after < seq <= upto`, the oldest first.

        Args:
            after: 0 begins.
            upto: None for no bound.
            methods: only events of these methods.
            run_id: only events of this run.
        """
        ...

    async def last_channel_seq(self, thread_id: str) -> int:
        """Returns the `seq` of the newest v2 event that the thread ever had, 0 if it had none."""
        ...

    async def floor(self, thread_id: str) -> int:
        """Returns the `seq` up to which v2 events of the thread may have been removed; 0 if none were."""
        ...

    async def expire(self, run_id: str, at: int) -> None:
        """Lets the events of a run expire at a moment (microseconds). Its v2 events `lifecycle`, `input.requested` and
        `input.answered` stay.
        """
        ...

    async def expire_log(self, thread_id: str, at: int) -> None:
        """Lets all events of a thread that is gone expire at a moment (microseconds), and its numbers with them. Events
        that expire earlier still do.
        """
        ...

    async def delete_of_run(self, run_id: str) -> None:
        """Removes all events of a run."""
        ...

    async def delete_expired(self, now: int) -> int:
        """Removes events that expired before `now` (microseconds). Returns how many."""
        ...

    async def trim(self, thread_id: str, keep: int) -> None:
        """Removes all but the newest `keep` events of a thread. With 0 the numbers of the thread start anew: it was
        deleted.
        """
        ...
