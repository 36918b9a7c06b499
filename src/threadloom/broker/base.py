"""What every broker does. Losing a message costs time, never data: the tables of the storage are the truth."""

from collections.abc import Callable, Sequence
from typing import Protocol

from threadloom.types import Event


class Follower(Protocol):
    """Someone who follows the events of a thread, from the moment it was made until it is closed."""

    async def next(self, seconds: float | None = None) -> Sequence[Event]:
        """The events that came since the last call, oldest first; waits for at least one, or gives none after `seconds` of
        silence. Those of one run keep their order; none is missing, none comes twice. One call at a time.

        Raises:
            ReaderTooSlow: so many were not fetched that they were dropped.
            EventsLost: some may have been lost between processes. What is stored is to be read again.
        """
        ...

    def close(self) -> None: ...


class EventsMissed(Exception):
    """A follower has not got all events, and what it missed is no longer held for it."""


class ReaderTooSlow(EventsMissed):
    """It did not keep up."""


class EventsLost(EventsMissed):
    """The messages on their way to this process were lost: what carries them lost its memory, or gave this process up."""


class Broker(Protocol):
    """Between processes or within one. All methods may be called from any thread of the process.

    Attributes:
        process: the name of this process among others; empty where there are no others.
    """

    process: str

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
        """Hands events of one thread to all who follow it, in order. Never waits for a reader.

        All of them, or none, are events of channels.
        """
        ...

    def send(self, process: str, letter: bytes) -> None:
        """Hands a letter to one other process. It comes once, or never: when that process is gone, or what carries the
        messages lost its memory."""
        ...

    def on_letter(self, listener: Callable[[str, bytes], None]) -> None:
        """Calls `listener` with the sender of every letter that comes, and the letter. On the event loop of `open`."""
        ...
