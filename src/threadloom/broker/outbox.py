"""What a process is still to send to others: a queue for each run, which send in turn."""

from collections import deque
from collections.abc import Sequence

from threadloom.broker.base import EVENT_BYTES, GONE, LOST, of_channels, size_of
from threadloom.types import CHANNELS, Event

RUN_BYTES = 8 * 1024 * 1024
"""Bytes of one run's events that may wait. Beyond that they are dropped, and that run's followers told."""

ALL_BYTES = 64 * 1024 * 1024
"""Bytes of all runs' events that may wait. Beyond that the run with the most loses its."""

TURN = 64 * 1024
"""Bytes that a run sends before the next one's turn, or one event."""

ROUND = 1024 * 1024
"""Bytes that are sent together, or one event."""

Key = tuple[str, str, bool]
"""Thread and run, and whether it is events of channels that wait."""


class _Queue:
    """The events of one run that wait, oldest first. `lost`: the first of them stands for some that were dropped."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.bytes = 0
        self.lost = False

    def add(self, events: Sequence[Event]) -> int:
        size = size_of(events)
        self.events.extend(events)
        self.bytes += size
        return size

    def take(self) -> list[Event]:
        """One turn's events. Those that stand for dropped ones go alone."""
        taken: list[Event] = []
        size = 0
        while self.events and size < TURN and not self.lost:
            event = self.events.popleft()
            taken.append(event)
            size += len(event.data) + EVENT_BYTES
        if self.lost:
            self.lost = False
            taken = [self.events.popleft()]
            size = size_of(taken)
        self.bytes -= size
        return taken


class Outbox:
    """Bounded in the bytes of a run and of all runs. To be used on one event loop."""

    def __init__(self) -> None:
        self._queues: dict[Key, _Queue] = {}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, events: Sequence[Event]) -> Key | None:
        """Adds events of one run. Gives which run's events are now too many: they are to be dropped."""
        first = events[0]
        key = (first.thread_id, first.run_id, of_channels(first))
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        idle = not queue.events
        self._bytes += queue.add(events)
        if queue.bytes > RUN_BYTES and not idle:
            return key
        if self._bytes > ALL_BYTES:
            return max(self._queues, key=lambda one: self._queues[one].bytes)
        return None

    def waiting(self, thread_id: str, run_id: str) -> int:
        """Bytes of a run that wait; 0 also when what it sent before was dropped, and that is still to be told."""
        queues = (self._queues[key] for key in self.keys_of(thread_id, run_id))
        return sum(queue.bytes for queue in queues if not queue.lost)

    def keys_of(self, thread_id: str, run_id: str) -> list[Key]:
        """What of a run waits."""
        return [key for channels in (False, True) if (key := (thread_id, run_id, channels)) in self._queues]

    def drop(self, key: Key, cause: str) -> int:
        """Drops what a run has waiting, but how it ended. In its place comes an event that says why. Gives its bytes."""
        queue = self._queues[key]
        thread_id, run_id, channels = key
        told = Event(
            thread_id=thread_id, run_id=run_id, name=CHANNELS if channels else "", mode=LOST, data=cause.encode()
        )
        before = queue.bytes
        kept = [event for event in queue.events if event.last or event.name == GONE]
        queue.events.clear()
        queue.bytes = 0
        queue.add([told, *kept])
        queue.lost = True
        self._bytes += queue.bytes - before
        return before - queue.bytes

    def take(self) -> list[Sequence[Event]]:
        """What is to be sent next: a turn of each run that waits, and again, until it is a round."""
        taken: list[Sequence[Event]] = []
        size = 0
        while self._queues and size < ROUND:
            key = next(iter(self._queues))
            queue = self._queues.pop(key)
            before = queue.bytes
            taken.append(queue.take())
            size += before - queue.bytes
            if queue.events:
                self._queues[key] = queue
        self._bytes -= size
        return taken
