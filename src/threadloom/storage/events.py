"""Stored events: the protocol that every storage implements."""

from collections.abc import Collection, Sequence
from typing import Protocol

from threadloom.types import METHODS, Event

PAGE_BYTES = 1024 * 1024
"""Maximum size of a page of events in bytes."""


class Events(Protocol):
    """Stored events: one log for each thread, numbered without gaps.

    A page has at most `limit` events. It ends with the event with which it reaches `size` bytes; None sets no limit on the size.
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
            after: 0 for the start of the log.
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
        """Sets when the events of a run expire (microseconds). Its v2 events `lifecycle`, `input.requested` and `input.answered`
        are kept.
        """
        ...

    async def expire_log(self, thread_id: str, at: int) -> None:
        """Sets when all events of a deleted thread, and its numbering, expire (microseconds). An earlier expiry of an event is
        kept.
        """
        ...

    async def delete_of_run(self, run_id: str) -> None:
        """Removes all events of a run."""
        ...

    async def delete_expired(self, now: int) -> int:
        """Removes events that expired before `now` (microseconds). Returns how many."""
        ...

    async def trim(self, thread_id: str, keep: int) -> None:
        """Removes all but the newest `keep` events of a thread. With 0 the thread was deleted: its numbering starts again at the
        beginning.
        """
        ...
