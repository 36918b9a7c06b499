"""The broker within one process. It holds everything in memory."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from threadloom.broker.base import (
    EVENT_BYTES,
    GONE,
    LOST,
    READER_BYTES,
    READER_PACE,
    EventsLost,
    EventsMissed,
    ReaderTooSlow,
    of_channels,
    size_of,
)
from threadloom.types import CHANNELS, Event

PORTION = 256 * 1024
"""Bytes of events that a follower is given at once, or one larger event."""

BEHIND = 1024 * 1024
"""Bytes of events that may wait for a follower before a run waits for that follower."""

POLL_INTERVAL_SECONDS = 0.002
"""Seconds between checks whether followers have caught up."""


TOO_SLOW = (
    "The reader was too slow: more than {} bytes of events waited for it. Events of a run made with stream_resumable are stored, "
    "and its readers may be as slow as they like"
)

log = logging.getLogger("threadloom.broker")


class LocalFollower:
    """A `Follower` on the event loop on which it was created."""

    def __init__(self, broker: "LocalBroker", thread_id: str, events: bool, channels: bool) -> None:
        self._broker = broker
        self._waiting: deque[Event] = deque()
        self._bytes = 0
        self._limit = broker.reader_bytes
        self._arrived: asyncio.Future[None] | None = None
        self._missed: EventsMissed | None = None
        self._too_slow = False
        self._marked = False
        self._closed = False
        self.loop = asyncio.get_running_loop()
        self.thread_id = thread_id
        self.events = events
        self.channels = channels

    @property
    def missed(self) -> bool:
        """Whether `next` will raise that events are missing. The follower gets no events before that."""
        return self._missed is not None

    @property
    def behind(self) -> bool:
        """Whether so many bytes wait for it that a run must wait."""
        return self._bytes > BEHIND and not self._too_slow

    def give_up(self) -> None:
        """Excludes the follower from `catch_up` until it has fetched all its events."""
        self._too_slow = True

    def put(self, events: Sequence[Event]) -> None:
        if self._missed is not None:
            return
        wanted = events if self.events else [event for event in events if event.last]
        if not wanted:
            return
        idle = not self._waiting
        self._marked = self._marked or wanted[0].mode == LOST  # an event with mode LOST is published alone
        self._waiting.extend(wanted)
        self._bytes += size_of(wanted)
        # A follower that has fetched all its events accepts the next ones whatever their size.
        if self._bytes > self._limit and not idle:
            log.warning(
                "a reader of thread %s is too slow: more than %d bytes of events waited for it, and were dropped",
                self.thread_id,
                self._limit,
            )
            self.miss(ReaderTooSlow(TOO_SLOW.format(self._limit)))
        else:
            self._wake()

    def miss(self, missed: EventsMissed) -> None:
        """Drops the waiting events, because one of them, or a later one, is lost."""
        self._missed = missed
        self._marked = False
        self._waiting.clear()
        self._bytes = 0
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def next(self, seconds: float | None = None) -> Sequence[Event]:
        if not self._waiting and self._missed is None:
            # Implemented by hand: `asyncio.timeout` around an `asyncio.Event` costs as much as all other work for a token.
            self._arrived = self.loop.create_future()
            end = None if seconds is None else self.loop.call_later(seconds, self._wake)
            try:
                await self._arrived
            finally:
                self._arrived = None
                if end is not None:
                    end.cancel()
        if self._missed is not None:
            missed, self._missed = self._missed, None
            raise missed
        if self._bytes <= PORTION and not self._marked:
            everything = list(self._waiting)  # empty after a timeout
            self._waiting.clear()
            self._bytes = 0
            self._too_slow = False
            return everything
        return self._portion()

    def _portion(self) -> Sequence[Event]:
        """Returns the first part of many events, up to the next that replaces dropped ones."""
        events: list[Event] = []
        size = 0
        while self._waiting and size < PORTION:
            if self._waiting[0].mode == LOST:
                if not events:
                    lost = self._waiting.popleft()
                    self._bytes -= size_of((lost,))
                    raise EventsLost(lost.data.decode(), lost.run_id)
                break
            event = self._waiting.popleft()
            events.append(event)
            size += len(event.data) + EVENT_BYTES
        self._bytes -= size
        if not self._waiting:
            self._too_slow = self._marked = False
        return events

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._broker.remove_follower(self)


class LocalBroker:
    """A `Broker` for one process. Calls of `work` run on the loop that `open` ran on, a follower on the loop that created it.

    Args:
        reader_bytes: bytes of events that may wait for one follower before they are dropped.
    """

    process = ""

    def __init__(self, *, reader_bytes: int = READER_BYTES) -> None:
        self.reader_bytes = reader_bytes
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
        if seconds is None:
            await self._work.wait()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._work.wait()
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

    def remove_follower(self, follower: LocalFollower) -> None:
        """Removes a follower. Called by its `close`."""
        with self._lock:
            followers = self._followers.get(follower.thread_id)
            if followers and follower in followers:
                followers.remove(follower)
                if not followers:
                    del self._followers[follower.thread_id]

    def watched(self, thread_id: str) -> bool:
        return any(
            follower.events and not follower.channels and not follower.missed
            for follower in self._followers.get(thread_id, ())
        )

    def publish(self, events: Sequence[Event]) -> None:
        self.at_home(self.deliver, events)

    async def catch_up(self, thread_id: str, run_id: str, size: int) -> None:
        if self._home is None or asyncio.get_running_loop() is self._home:
            await self._catch_up(thread_id, run_id, size)
        else:
            # This runs after all earlier publish calls.
            there = asyncio.run_coroutine_threadsafe(self._catch_up(thread_id, run_id, size), self._home)
            await asyncio.wrap_future(there)

    async def _catch_up(self, thread_id: str, run_id: str, size: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + size / READER_PACE
        while slow := [follower for follower in self._followers.get(thread_id, ()) if follower.behind]:
            if loop.time() >= deadline:
                for follower in slow:
                    follower.give_up()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    def gone(self, thread_id: str, run_id: str = "") -> None:
        for mode in ("", CHANNELS):
            self.publish([Event(thread_id=thread_id, run_id=run_id, name=GONE, data=b"{}", mode=mode)])

    def send(self, process: str, message: bytes) -> None:
        """Does nothing: no other process exists."""

    def on_message(self, listener: Callable[[str, bytes], None]) -> None:
        """Does nothing: no other process sends messages."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Passes events of one thread to its followers in this process. On the home loop."""
        mode = events[0].mode
        channels = mode == CHANNELS or (mode == LOST and of_channels(events[0]))
        for follower in tuple(self._followers.get(events[0].thread_id, ())):
            if follower.channels is channels:
                if follower.loop is self._home:
                    follower.put(events)
                else:
                    _tell(follower.loop, follower.put, events)

    def lose(self) -> None:
        """Makes all followers raise that events may be missing. On the home loop."""
        with self._lock:
            followers = [follower for some in self._followers.values() for follower in some]
        for follower in followers:
            _tell(follower.loop, follower.miss, EventsLost())

    def at_home(self, act: Callable[..., None], *arguments: object) -> None:
        """Calls `act` on the home loop: directly when this is that loop, else scheduled from another thread or loop."""
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
