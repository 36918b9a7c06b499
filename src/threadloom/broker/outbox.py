"""The events that a process has yet to send to others: a queue for each run. The queues send in turn."""

from collections import deque
from collections.abc import Sequence

from threadloom.broker.base import EVENT_BYTES, GONE, LOST, of_channels, size_of
from threadloom.types import CHANNELS, Event

RUN_BYTES = 8 * 1024 * 1024
"""Bytes of one run's events that may wait. Above that they are dropped, and that run's followers are notified."""

ALL_BYTES = 64 * 1024 * 1024
"""Bytes of all runs' events that may wait. Above that the events of the run with the most bytes are dropped."""

TURN = 64 * 1024
"""Bytes that a run sends in one turn, or one larger event."""

ROUND = 1024 * 1024
"""Bytes that are sent together, or one larger event."""

Key = tuple[str, str, bool]
"""Thread, run, and whether the queue holds events of channels."""


class _Queue:
    """The waiting events of one run, oldest first. `lost`: the first of them replaces dropped events."""

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
        """Removes and returns one turn's events. An event that replaces dropped ones is returned alone."""
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
    """The queues, limited in the bytes of a run and of all runs. Used on one event loop only."""

    def __init__(self) -> None:
        self._queues: dict[Key, _Queue] = {}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, events: Sequence[Event]) -> Key | None:
        """Adds events of one run. Returns the key of the queue whose events exceed a limit and must be dropped, else None."""
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
        """Returns the bytes of a run that wait; 0 also when its events were dropped and the replacing event is not sent yet."""
        queues = (self._queues[key] for key in self.keys_of(thread_id, run_id))
        return sum(queue.bytes for queue in queues if not queue.lost)

    def keys_of(self, thread_id: str, run_id: str) -> list[Key]:
        """Returns the keys of a run's queues that are not empty."""
        return [key for channels in (False, True) if (key := (thread_id, run_id, channels)) in self._queues]

    def drop(self, key: Key, cause: str) -> int:
        """Drops the waiting events of a queue except the run's end. An event with the cause replaces them. Returns the dropped
        bytes.
        """
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
        """Removes and returns what is sent next: one turn of each run, repeated until ROUND bytes are reached."""
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
