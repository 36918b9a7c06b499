"""What every broker does. Losing a message costs time, never data: the tables of the storage are the truth."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from threadloom.errors import ThreadloomError
from threadloom.types import CHANNELS, Event

READER_BYTES = 8 * 1024 * 1024
"""Bytes of events that may wait for one follower, unless the settings say otherwise."""

READER_PACE = 10 * 1024 * 1024
"""Bytes a second at which followers must take events for a run to wait for them."""

EVENT_BYTES = 256
"""What an event takes up beside its data."""

LOST = "lost"
"""`mode` of what stands in the place of events that were dropped; its data say why. No event has such a mode."""

GONE = "gone"
"""`name` of the event that ends whatever follows a thread: the thread was deleted."""


def size_of(events: Iterable[Event]) -> int:
    """Bytes of memory that events take up."""
    size = 0
    for event in events:  # it is mostly one
        size += len(event.data) + EVENT_BYTES
    return size


def before_gone(events: Sequence[Event]) -> tuple[Sequence[Event], bool]:
    """What was told of a thread before it was deleted, and whether it was."""
    for number, event in enumerate(events):
        if event.name == GONE:
            return events[:number], True
    return events, False


def of_channels(event: Event) -> bool:
    """Whether an event, or what stands for dropped ones, belongs to the channels of a v2 run."""
    return event.mode == CHANNELS or (event.mode == LOST and event.name == CHANNELS)


class Follower(Protocol):
    """Someone who follows the events of a thread, from the moment it was made until it is closed."""

    async def next(self, seconds: float | None = None) -> Sequence[Event]:
        """The events that came since the last call, oldest first; waits for at least one, or gives none after `seconds` of
        silence. Those of one run keep their order; none is missing, none comes twice. One call at a time. Of many that wait
        it gives some, so that what its caller holds is bounded too.

        An error says once that events are missing; from then on no further ones are.

        Raises:
            ReaderTooSlow: so many were not fetched that they were dropped.
            EventsLost: some may have been lost between processes. What is stored is to be read again.
        """
        ...

    def close(self) -> None:
        """Ends it; again does nothing."""
        ...


class EventsMissed(ThreadloomError):
    """A follower has not got all events, and what it missed is no longer held for it. The text names the cause, for clients."""


class ReaderTooSlow(EventsMissed):
    """It did not keep up."""


class EventsLost(EventsMissed):
    """Events on their way to this process were lost.

    Args:
        cause: why, in words for clients.
        run_id: the only run whose events were; empty: those of any.
    """

    def __init__(self, cause: str = "Messages between processes were lost", run_id: str = "") -> None:
        super().__init__(cause)
        self.run_id = run_id


class Broker(Protocol):
    """Between processes or within one. All methods may be called from any thread of the process.

    Attributes:
        process: the name of this process among others; empty where there are no others.
        reader_bytes: bytes of events that may wait for a follower before it is told that it is too slow; may be changed.
    """

    process: str
    reader_bytes: int

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Hands on what is still on its way, and lets go."""
        ...

    async def probe(self) -> None:
        """Looks whether others can be reached. Raises Unavailable when they cannot."""
        ...

    def wake(self, *, elsewhere: bool = True) -> None:
        """Says that a run may be claimable now. Without `elsewhere` only to this process."""
        ...

    async def work(self, seconds: float | None) -> None:
        """Waits until `wake` was called since the last return, at most so long."""
        ...

    def cancel(self, run_id: str) -> None:
        """Says that a running run is to stop; whoever executes it finds the action in its row."""
        ...

    def on_cancel(self, listener: Callable[[str], None]) -> None:
        """Calls `listener` with the id of every run that `cancel` names, wherever it was called."""
        ...

    async def follow(self, thread_id: str, *, events: bool = True, channels: bool = False) -> Follower:
        """Follows a thread: what is published after this has returned comes, wherever it is published. Without `events`
        only the last event of each run is wanted.

        With `channels` the events of v2 runs are wanted (`types.CHANNELS`) and no others, without it all others and not
        those.

        Raises:
            Unavailable: other processes cannot be told of it for now.
        """
        ...

    def watched(self, thread_id: str) -> bool:
        """Whether anybody may want the events of a thread (but those of channels); if not, nobody need make them."""
        ...

    def publish(self, events: Sequence[Event]) -> None:
        """Hands events of one run to all who follow its thread, in order. Never waits for a reader.

        All of them, or none, are events of channels.
        """
        ...

    async def catch_up(self, thread_id: str, run_id: str, size: int) -> None:
        """Lets a run that publishes much wait until little of it is still on its way, and its followers keep up.

        The wait is bounded: for what carries messages some seconds, for followers as long as `size` bytes take at
        READER_PACE; one that was too slow for that is not waited for until it has caught up.

        Args:
            size: bytes that the run published since the last call.
        """
        ...

    def gone(self, thread_id: str, run_id: str = "") -> None:
        """Says that a thread was deleted: its followers get the event GONE, after all that a run on it has published."""
        ...

    def send(self, process: str, letter: bytes) -> None:
        """Hands a letter to one other process. It comes once, or never: when that process is gone, or what carries the
        messages lost its memory."""
        ...

    def on_letter(self, listener: Callable[[str, bytes], None]) -> None:
        """Calls `listener` with the sender of every letter that comes, and the letter. On the event loop of `open`."""
        ...
