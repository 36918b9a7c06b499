"""Stored events: the protocol that every storage implements.

The data of most events are in the event's row. Long JSON texts are values in a table of their own, each whole or as instructions
over an earlier value of its thread (`lineage.elements`). A value is kept as long as its event, or another value builds on it. So
every stored event can be read, whatever was removed before it.

The storage knows only that a value has a base: who appends events makes the instructions. Reading restores the data.
"""

import abc
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from threadloom.lineage import elements
from threadloom.types import METHODS, Event

PAGE_BYTES = 1024 * 1024
"""Maximum size of a page of events in bytes."""


class EventValue(msgspec.Struct, frozen=True):
    """The data of an event as they are stored in a row of their own.

    Attributes:
        id: unique in the database and never reused (`Storage.new_blob_id`).
        base: the value that `data` are instructions over; None: `data` are whole.
    """

    id: int
    base: int | None
    data: bytes


Page = tuple[list[Event], list[int | None]]
"""Events as they are stored, and the ids of their values. The data of an event that has a value are empty."""


class Events(Protocol):
    """Stored events: one log for each thread, numbered without gaps.

    A page has at most `limit` events. It ends with the event with which it reaches `size` bytes; None sets no limit on the size.
    """

    async def append(self, events: Sequence[Event], values: Sequence[EventValue | None] = ()) -> list[Event]:
        """Stores events of one thread, in order, after those that are stored.

        Args:
            values: for each event the value that restores its data, or None: the data are stored with the event. A value comes
                after its base. Empty: no event has one.

        Returns:
            The events with their `seq`, which has no gaps within a thread. Ids (`ms`, `n`) that would not be greater
            than the thread's last one are moved past it.

        Raises:
            StaleRefsError: the base of a value is no longer stored. The transaction must be rolled back.
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


class StoredEvents(abc.ABC):
    """What all implementations of `Events` have in common: reads restore the data from the values.

    The methods that read rows as they are stored are also for a storage that encrypts events.
    """

    async def append(self, events: Sequence[Event], values: Sequence[EventValue | None] = ()) -> list[Event]:
        return await self.append_rows(events, values or [None] * len(events))

    async def of_run(
        self, run_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        return await self._restored(await self.rows_of_run(run_id, after, limit, size))

    async def of_thread(
        self, thread_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        return await self._restored(await self.rows_of_thread(thread_id, after, limit, size))

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
        upto = NEWEST if upto is None else upto
        return await self._restored(
            await self.rows_of_channels(thread_id, after, upto, sorted(methods), run_id, limit, size)
        )

    @abc.abstractmethod
    async def append_rows(self, events: Sequence[Event], values: Sequence[EventValue | None]) -> list[Event]:
        """Does what `append` does, with a value or None for each event."""

    @abc.abstractmethod
    async def rows_of_run(self, run_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        """Returns what `of_run` reads."""

    @abc.abstractmethod
    async def rows_of_thread(self, thread_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        """Returns what `of_thread` reads."""

    @abc.abstractmethod
    async def rows_of_channels(
        self,
        thread_id: str,
        after: int,
        upto: int,
        methods: Sequence[str],
        run_id: str | None,
        limit: int,
        size: int | None,
    ) -> Page:
        """Returns what `of_channels` reads."""

    @abc.abstractmethod
    async def values(self, ids: Sequence[int]) -> dict[int, EventValue]:
        """Returns values by their ids, with all that they build on."""

    async def _restored(self, page: Page) -> list[Event]:
        events, ids = page
        wanted = [id_ for id_ in ids if id_ is not None]
        if not wanted:
            return events
        stored = await self.values(wanted)
        whole: dict[int, bytes] = {}
        restored: list[Event] = []
        for event, id_ in zip(events, ids, strict=True):
            if id_ is not None:
                # An event that was removed since its row was read is not among the values any more.
                if id_ not in stored:
                    continue
                event.data = elements.whole(id_, stored, whole)
            restored.append(event)
        return restored


NEWEST = 2**63 - 1
"""A number that no event has reached."""
