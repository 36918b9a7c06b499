"""The broker within one process: plain memory."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from threadloom.broker.base import ReaderTooSlow
from threadloom.types import CHANNELS, Event

BACKLOG = 64 * 1024 * 1024
"""Bytes that may wait for one follower before it is given up."""


class LocalFollower:
    """`Follower` of the broker protocol, on the event loop it was made on."""

    def __init__(self, broker: "LocalBroker", thread_id: str, events: bool, channels: bool) -> None:
        self._broker = broker
        self._waiting: deque[Event] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._dropped = False
        self.thread_id = thread_id
        self.events = events
        self.channels = channels

    def put(self, events: Sequence[Event]) -> None:
        if self._dropped:
            return
        wanted = events if self.events else [event for event in events if event.last]
        if not wanted:
            return
        self._waiting.extend(wanted)
        self._bytes += sum(len(event.data) for event in wanted)
        if self._bytes > BACKLOG:
            self._dropped = True
            self._waiting.clear()
        self._arrived.set()

    async def next(self) -> Sequence[Event]:
        if not self._waiting and not self._dropped:
            self._arrived.clear()
            await self._arrived.wait()
        if self._dropped:
            raise ReaderTooSlow
        events = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return events

    def close(self) -> None:
        self._broker.forget(self)


class LocalBroker:
    """`Broker` for one process. Followers and waiters live on the loop that `open` ran on."""

    def __init__(self) -> None:
        self._followers: dict[str, list[LocalFollower]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._work = asyncio.Event()
        self._home: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        self._home = asyncio.get_running_loop()

    async def close(self) -> None:
        self._followers.clear()

    def wake(self) -> None:
        self._at_home(self._work.set)

    async def work(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._work.wait()
        except TimeoutError:
            pass
        self._work.clear()

    def cancel(self, run_id: str) -> None:
        for listener in self._listeners:
            self._at_home(listener, run_id)

    def on_cancel(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def follow(self, thread_id: str, *, events: bool = True, channels: bool = False) -> LocalFollower:
        follower = LocalFollower(self, thread_id, events, channels)
        self._followers.setdefault(thread_id, []).append(follower)
        return follower

    def forget(self, follower: LocalFollower) -> None:
        """Ends a follower; called by its `close`."""
        followers = self._followers.get(follower.thread_id)
        if followers and follower in followers:
            followers.remove(follower)
            if not followers:
                del self._followers[follower.thread_id]

    def watched(self, thread_id: str) -> bool:
        return any(follower.events and not follower.channels for follower in self._followers.get(thread_id, ()))

    def publish(self, events: Sequence[Event]) -> None:
        self._at_home(self._deliver, events)

    def _deliver(self, events: Sequence[Event]) -> None:
        channels = events[0].mode == CHANNELS
        for follower in self._followers.get(events[0].thread_id, ()):
            if follower.channels is channels:
                follower.put(events)

    def _at_home(self, act: Callable[..., None], *arguments: object) -> None:
        """Calls `act` on the home loop: now when we are on it, soon when called from another thread or loop."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._home or self._home is None:
            act(*arguments)
        else:
            self._home.call_soon_threadsafe(act, *arguments)
