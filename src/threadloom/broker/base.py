"""What every broker does. Losing a message costs time, never data: the tables of the storage are the truth."""

from collections.abc import Callable, Sequence
from typing import Protocol

from threadloom.types import Event


class Follower(Protocol):
    """Someone who follows the events of a thread, from the moment it was made until it is closed."""

    async def next(self) -> Sequence[Event]:
        """The events that came since the last call, oldest first; waits for at least one.

        Raises:
            ReaderTooSlow: so many were not fetched that they were dropped.
        """
        ...

    def close(self) -> None: ...


class ReaderTooSlow(Exception):
    """A follower did not keep up, and what it missed is no longer held for it."""


class Broker(Protocol):
    """Between processes or within one. All methods may be called from any thread of the process."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def wake(self) -> None:
        """Says that a run may be claimable now."""
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

    def follow(self, thread_id: str, *, events: bool = True, channels: bool = False) -> Follower:
        """Follows a thread from now on. Without `events` only the last event of each run is wanted.

        With `channels` the events of v2 runs are wanted (`types.CHANNELS`) and no others, without it all others and not
        those.
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
