"""The interface of all brokers. A lost message costs time, never data: the tables of the storage are authoritative."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from threadloom.errors import ThreadloomError
from threadloom.types import CHANNELS, Event

READER_BYTES = 8 * 1024 * 1024
"""Bytes of events that may wait for one follower, unless the settings say otherwise."""

READER_PACE = 10 * 1024 * 1024
"""Bytes a second at which followers must take events for a run to wait for them."""

EVENT_BYTES = 256
"""Bytes that an event occupies in addition to its data."""

LOST = "lost"
"""`mode` of an event that replaces dropped events; its data is the cause. No other event has this mode."""

GONE = "gone"
"""`name` of the event that ends every follower of a thread: the thread was deleted."""


def size_of(events: Iterable[Event]) -> int:
    """Returns the bytes of memory that events occupy."""
    size = 0
    for event in events:  # usually one event
        size += len(event.data) + EVENT_BYTES
    return size


def before_gone(events: Sequence[Event]) -> tuple[Sequence[Event], bool]:
    """Returns the events of a thread from before its deletion, and whether it was deleted."""
    for number, event in enumerate(events):
        if event.name == GONE:
            return events[:number], True
    return events, False


def of_channels(event: Event) -> bool:
    """Returns whether an event, or the event that replaces dropped ones, belongs to the channels of a v2 run."""
    return event.mode == CHANNELS or (event.mode == LOST and event.name == CHANNELS)


class Follower(Protocol):
    """A reader of a thread's events, from its creation until it is closed."""

    async def next(self, seconds: float | None = None) -> Sequence[Event]:
        """Returns the events that came since the last call, the oldest first.

        It waits for at least one. Events of one run keep their order; none is missing, none comes twice. Of many that
        wait it returns a part, so that what the caller holds is bounded. One call at a time. After an error no further
        events come.

        Args:
            seconds: return nothing after so long without an event; None waits without end.

        Raises:
            ReaderTooSlow: more than `Broker.reader_bytes` waited, and were dropped.
            EventsLost: events may have been lost between processes. What is stored is to be read again.
        """
        ...

    def close(self) -> None:
        """Stops following. Calling it again does nothing."""
        ...


class EventsMissed(ThreadloomError):
    """A follower has missed events, and they are no longer held for it. The message names the cause, for clients."""


class ReaderTooSlow(EventsMissed):
    """The follower did not keep up."""


class EventsLost(EventsMissed):
    """Events sent to this process were lost.

    Args:
        cause: the cause in words, for clients.
        run_id: the only run that lost events; empty: events of any run may be lost.
    """

    def __init__(self, cause: str = "Messages between processes were lost", run_id: str = "") -> None:
        super().__init__(cause)
        self.run_id = run_id


class Broker(Protocol):
    """Sends wake-ups, cancellations and events between processes or within one. All methods are thread-safe.

    Attributes:
        process: the id of this process; empty where there is only one.
        reader_bytes: bytes of events that may wait for a follower before it counts as too slow; may be changed.
    """

    process: str
    reader_bytes: int

    async def open(self) -> None:
        """Starts on the running event loop. Called before any other method.

        Raises:
            Unavailable: the message server cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Sends the remaining messages, within a bounded time, and stops."""
        ...

    async def probe(self) -> None:
        """Checks that other processes can be reached.

        Raises:
            Unavailable: they cannot.
        """
        ...

    def wake(self, *, elsewhere: bool = True) -> None:
        """Notifies workers that a run may be claimable. Without `elsewhere` only those of this process."""
        ...

    async def work(self, seconds: float | None) -> None:
        """Waits until `wake` was called since the last `work` returned, for at most `seconds` (None: without end)."""
        ...

    def cancel(self, run_id: str) -> None:
        """Notifies the worker of a run that the run's row has a cancel request. A lost message costs time: the row is
        read at each renewal too.
        """
        ...

    def on_cancel(self, listener: Callable[[str], None]) -> None:
        """Registers the listener that gets the id of every run that `cancel` names, in whichever process."""
        ...

    async def follow(self, thread_id: str, *, events: bool = True, channels: bool = False) -> Follower:
        """Follows a thread. Events that are published after this has returned arrive, wherever they are published.

        Args:
            events: False: only the last event of each run.
            channels: True: the events of v2 runs (`types.CHANNELS`) and no others; False: all others and not those.

        Raises:
            Unavailable: other processes cannot be notified for now.
        """
        ...

    def watched(self, thread_id: str) -> bool:
        """Returns whether anybody may follow the thread's events, except those of channels. If not, the caller need not create
        them. Does not wait.
        """
        ...

    def publish(self, events: Sequence[Event]) -> None:
        """Sends events of one run to all followers of its thread, in order. Never waits: followers that are too slow
        lose them (see `Follower.next`). Either all of the events belong to channels or none.
        """
        ...

    async def catch_up(self, thread_id: str, run_id: str, size: int) -> None:
        """Waits until few bytes of what a run published are still to be sent, and its followers keep up.

        The wait is bounded: some seconds for sending; for followers as long as `size` bytes take at
        READER_PACE. A follower that was too slow for that is not waited for until it has caught up.

        Args:
            size: bytes that the run published since the last call.
        """
        ...

    def gone(self, thread_id: str, run_id: str = "") -> None:
        """Notifies the followers of a thread that it was deleted: they get the event GONE, after all that the run
        `run_id` has published.
        """
        ...

    def send(self, process: str, message: bytes) -> None:
        """Sends a message to one other process. It arrives at most once. It is lost if that process has ended, or the message
        server lost its memory.
        """
        ...

    def on_message(self, listener: Callable[[str, bytes], None]) -> None:
        """Registers the listener that gets the sender and the payload of every message of `send`, on the event loop of
        `open`.
        """
        ...
