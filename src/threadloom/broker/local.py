"""The broker within one process: plain memory."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

from threadloom.broker.base import EventsLost, EventsMissed, ReaderTooSlow
from threadloom.types import CHANNELS, Event

BACKLOG = 64 * 1024 * 1024
"""Bytes that may wait for one follower before it is given up."""


class LocalFollower:
    """`Follower` of the broker protocol, on the event loop it was made on."""

    def __init__(self, broker: "LocalBroker", thread_id: str, events: bool, channels: bool) -> None:
        self._broker = broker
        self._waiting: deque[Event] = deque()
        self._bytes = 0
        self._arrived: asyncio.Future[None] | None = None
        self._missed: EventsMissed | None = None
        self.loop = asyncio.get_running_loop()
        self.thread_id = thread_id
        self.events = events
        self.channels = channels

    def put(self, events: Sequence[Event]) -> None:
        if self._missed is not None:
            return
        wanted = events if self.events else [event for event in events if event.last]
        if not wanted:
            return
        self._waiting.extend(wanted)
        self._bytes += sum(len(event.data) for event in wanted)
        if self._bytes > BACKLOG:
            self.miss(ReaderTooSlow())
        else:
            self._wake()

    def miss(self, missed: EventsMissed) -> None:
        """Drops what waits: something of it, or after it, is gone."""
        self._missed = missed
        self._waiting.clear()
        self._bytes = 0
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def next(self, seconds: float | None = None) -> Sequence[Event]:
        if not self._waiting and self._missed is None:
            # By hand: `asyncio.timeout` around an `asyncio.Event` costs as much as all the rest of handing on a token.
            self._arrived = self.loop.create_future()
            end = None if seconds is None else self.loop.call_later(seconds, self._wake)
            try:
                await self._arrived
            finally:
                self._arrived = None
                if end is not None:
                    end.cancel()
        if self._missed is not None:
            missed = self._missed
            if isinstance(missed, EventsLost):
                self._missed = None  # from here on nothing is missing again
            raise missed
        events = list(self._waiting)  # none when the time was over
        self._waiting.clear()
        self._bytes = 0
        return events

    def close(self) -> None:
        self._broker.forget(self)


class LocalBroker:
    """`Broker` for one process. Waiters live on the loop that `open` ran on, a follower on the loop that made it."""

    process = ""

    def __init__(self) -> None:
        self._followers: dict[str, list[LocalFollower]] = {}
        self._lock = threading.Lock()
        self._listeners: list[Callable[[str], None]] = []
        self._work = asyncio.Event()
        self._home: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        self._home = asyncio.get_running_loop()

    async def close(self) -> None:
        self._followers.clear()

    async def probe(self) -> None:
        return

    def wake(self, *, elsewhere: bool = True) -> None:
        self.at_home(self._work.set)

    async def work(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._work.wait()
        except TimeoutError:
            pass
        self._work.clear()

    def cancel(self, run_id: str) -> None:
        for listener in self._listeners:
            self.at_home(listener, run_id)

    def on_cancel(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    async def follow(self, thread_id: str, *, events: bool = True, channels: bool = False) -> LocalFollower:
        follower = LocalFollower(self, thread_id, events, channels)
        with self._lock:
            self._followers.setdefault(thread_id, []).append(follower)
        return follower

    def forget(self, follower: LocalFollower) -> None:
        """Ends a follower; called by its `close`."""
        with self._lock:
            followers = self._followers.get(follower.thread_id)
            if followers and follower in followers:
                followers.remove(follower)
                if not followers:
                    del self._followers[follower.thread_id]

    def watched(self, thread_id: str) -> bool:
        return any(follower.events and not follower.channels for follower in self._followers.get(thread_id, ()))

    def publish(self, events: Sequence[Event]) -> None:
        self.at_home(self.deliver, events)

    def send(self, process: str, letter: bytes) -> None:
        """Nobody is there to get it."""

    def on_letter(self, listener: Callable[[str, bytes], None]) -> None:
        """Nobody is there to write any."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Hands events of one thread to its followers in this process. On the home loop."""
        channels = events[0].mode == CHANNELS
        for follower in tuple(self._followers.get(events[0].thread_id, ())):
            if follower.channels is channels:
                if follower.loop is self._home:
                    follower.put(events)
                else:
                    _tell(follower.loop, follower.put, events)

    def lose(self) -> None:
        """Tells all followers that events may be missing. On the home loop."""
        with self._lock:
            followers = [follower for some in self._followers.values() for follower in some]
        for follower in followers:
            _tell(follower.loop, follower.miss, EventsLost())

    def at_home(self, act: Callable[..., None], *arguments: object) -> None:
        """Calls `act` on the home loop: now when we are on it, soon when called from another thread or loop."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._home or self._home is None:
            act(*arguments)
        else:
            _tell(self._home, act, *arguments)


def _tell(loop: asyncio.AbstractEventLoop, act: Callable[..., None], *arguments: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(act, *arguments)
