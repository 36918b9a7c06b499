"""How far a reader has come in what is stored of a run, and what comes next there."""

from collections.abc import Sequence

import msgspec

from threadloom.broker.base import ReaderTooSlow
from threadloom.storage.base import Storage, Tx
from threadloom.types import Event, Run


class LogCursor(msgspec.Struct):
    """How far a reader of a run has come: id and number in the log of the last event that it got.

    Without a number it has begun in the middle, wherever that was. `behind`: more than it got may be stored.
    """

    after: tuple[int, int] = (0, 0)
    seq: int | None = None
    behind: bool = False

    def move(self, event: Event) -> None:
        self.after, self.seq = (event.ms, event.n), event.seq

    def comes_before(self, event: Event) -> bool:
        """Whether nothing that is stored lies between it and an event."""
        return self.seq is None or event.seq == self.seq + 1


NEVER = -1
"""A number that no stored event follows: what comes first is to be compared with what is stored."""


async def from_now(storage: Storage, run: Run) -> LogCursor:
    """The place of a reader that is told what comes from now on. To be asked for before the reader follows the run: what is told
    in between is stored, and counts as missed."""
    last = await storage.read(lambda tx: tx.events.last_of_run(run.run_id))
    return LogCursor(seq=NEVER) if last is None else LogCursor(after=last[:2], seq=last[2])


async def missed_events(storage: Storage, run: Run, cursor: LogCursor) -> Sequence[Event]:
    """A page of what is stored of a run after a place.

    Raises:
        ReaderTooSlow: some of it is stored no more.
    """

    async def work(tx: Tx) -> Sequence[Event]:
        events = await tx.events.of_run(run.run_id, after=cursor.after)
        if events and cursor.seq is not None and cursor.seq != NEVER and not cursor.comes_before(events[0]):
            [oldest] = await tx.events.of_thread(run.thread_id, limit=1)
            if oldest.seq > cursor.seq + 1:
                raise ReaderTooSlow("The reader was too slow: what it was to get next is no longer stored")
        return events

    return await storage.read(work)
