"""Events of a run: numbers them, stores those that can be replayed, and publishes them to followers."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from threadloom.broker.base import EVENT_BYTES, Broker, size_of
from threadloom.clock import Clock
from threadloom.codec import to_json, to_lean_json
from threadloom.engine.event_values import EventValues
from threadloom.engine.retry import with_retries
from threadloom.errors import LostLeaseError, StaleRefsError, ThreadloomError, separate
from threadloom.large import dump_json
from threadloom.storage.base import Storage, Tx
from threadloom.types import CHANNELS, Event, Run

log = logging.getLogger("threadloom.run")

LARGEST = 128 * 1024 * 1024
"""Default limit of an event's data, in bytes."""

KEEP = 10_000
"""Default number of stored events that a thread keeps."""

REPLAY_BYTES = 256 * 1024 * 1024
"""Default limit of a run's stored events, in bytes."""

UNSTORED_BYTES = 4 * 1024 * 1024
"""Bytes of events that may wait to be stored. Above that the run waits."""

STORED_BYTES = 512 * 1024
"""Bytes of events that are stored in one transaction, or one larger event. It limits how long other writes wait."""

PUBLISHED_BYTES = 1024 * 1024
"""Bytes of events that a run publishes before it checks whether its followers keep up."""

AT_ONCE = 100
"""Events that a run emits before it yields to other tasks of its event loop."""


class EventIds:
    """Generates event ids `<ms>-<n>`, strictly increasing in this process. Thread-safe.

    The ids of one thread increase across processes too: a process that starts to work on a thread calls `after` with the time of
    the thread's last change.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ms = 0
        self._n = 0

    def after(self, moment: int) -> None:
        """Makes all following ids greater than those generated up to a moment (microseconds)."""
        with self._lock:
            ms = moment // 1000 + 1
            if ms > self._ms:
                self._ms, self._n = ms, 0

    def next(self) -> tuple[int, int]:
        with self._lock:
            ms = self._clock.now() // 1000
            if ms > self._ms:
                self._ms, self._n = ms, 0
            else:
                self._n += 1
            return self._ms, self._n


class Emitter:
    """Takes the events of one run's execution.

    Events of a resumable run are stored, in batches, before they are published. Others are published directly, and are not
    encoded when nobody follows the thread. Of a v2 run only the events of its channels are stored.

    Args:
        holds: returns whether this worker still holds the run's lease. Later events are discarded.
        keep: stored events that the thread keeps.
        replay_bytes: bytes of this run's stored events that are kept; the oldest are removed first.
        values: makes the stored values of long events; by default, from those of this run only.
        largest: bytes that an event's data may have. A larger event is replaced by an error event; the run continues.
    """

    def __init__(
        self,
        run: Run,
        *,
        storage: Storage,
        broker: Broker,
        numbers: EventIds,
        holds: Callable[[], bool] = lambda: True,
        keep: int = KEEP,
        largest: int = LARGEST,
        replay_bytes: int = REPLAY_BYTES,
        values: EventValues | None = None,
    ) -> None:
        self._values = values or EventValues(storage.new_blob_id)
        self._holds = holds
        self._largest = largest
        self._most = keep
        self._run = run
        self._storage = storage
        self._broker = broker
        self._numbers = numbers
        self.channels = bool(run.kwargs.get("event_streaming"))
        self._stored = bool(run.kwargs.get("resumable")) and not self.channels
        self._buffer: list[Event] = []
        self._unstored = 0
        self._published = 0
        self._since = 0
        self._log = _Log(replay_bytes)
        self._flushing: asyncio.Task[None] | None = None
        self._failure: ThreadloomError | None = None
        self._newest = 0

    def emit(self, name: str, value: Any, mode: str = "") -> None:
        """Emits one event. `mode` is its stream mode; `""` is for events that every reader gets."""
        if self._is_wanted():
            self._emit(name, to_json(value), mode)

    async def emit_large(self, name: str, value: Any, mode: str = "") -> bytes | None:
        """Emits an event with a value that may be large, as `emit`. The value must not change until this returns.

        Returns the value as JSON; None if nobody reads the event.
        """
        if not self._is_wanted():
            return None
        data = await dump_json(value, to_json)
        self._emit(name, data, mode)
        return data

    def _is_wanted(self) -> bool:
        return self._stored or self._broker.watched(self._run.thread_id)

    def _emit(self, name: str, data: bytes, mode: str) -> None:
        sized, data = self._sized(name, data)
        event = self._event(sized, data, mode if sized == name else "")
        if self._stored:
            self._keep(event)
        elif self._holds():
            self._published += len(data) + EVENT_BYTES
            self._broker.publish([event])

    def emit_channel(self, method: str, namespace: Sequence[str], data: Any, node: str | None = None) -> None:
        """Emits one event on a channel of the v2 event stream (docs/contract/protocols.md#events)."""
        self._keep(self._encryption_context(method, namespace, data, node))

    @property
    def ahead(self) -> bool:
        """Whether the run must wait (`catch_up`) before it emits more."""
        return self._since >= AT_ONCE or self._published > PUBLISHED_BYTES or self._unstored > UNSTORED_BYTES

    async def catch_up(self) -> None:
        """Yields to other tasks and waits until the emitted events are stored and sent. Storage errors are raised by `flush`."""
        self._since = 0
        await asyncio.sleep(0)
        if self._unstored > UNSTORED_BYTES and self._flushing is not None:
            await asyncio.shield(self._flushing)  # a run that is cancelled here still stores the events that it emitted
        if self._published > PUBLISHED_BYTES:
            size, self._published = self._published, 0
            await self._broker.catch_up(self._run.thread_id, self._run.run_id, size)

    async def flush(self) -> None:
        """Waits until all emitted events are stored and published.

        Raises:
            LostLeaseError: this attempt no longer holds the run; no more events of it are stored.
            StorageError: an event could not be stored. No event after it is stored.
        """
        if self._flushing is not None:
            await self._flushing
        await self._flush()
        if self._failure is not None:
            raise separate(self._failure)

    def closing(self, status: str, error: dict[str, Any] | None) -> list[Event]:
        """Returns the events that close the run's stream: the error, if there is one, and the end. They are created before the
        run is finalized and published after, so that a failure that is retried is not published.
        """
        run = self._run
        events = [] if error is None else [self._event(*self._sized("error", to_json(error)), "")]
        return [*events, closing(run.thread_id, run.run_id, status, self._numbers)]

    def closing_lifecycle(self, phases: Sequence[dict[str, Any]]) -> list[Event]:
        """Returns the `lifecycle` events that end a v2 run. They are stored and published as those of `closing`.

        Args:
            phases: the data of each event, without the graph's name.
        """
        name = {"graph_name": self._run.graph_id}
        return [self._encryption_context("lifecycle", (), {**phase, **name}, None) for phase in phases]

    @property
    def replays(self) -> bool:
        """Whether emitted events are stored, so that readers can replay them."""
        return self._stored

    @property
    def stored(self) -> bool:
        """Whether events of this run are stored, so that its closing events must be stored too."""
        return self._stored or self.channels

    def _keep(self, event: Event) -> None:
        self._buffer.append(event)
        self._unstored += len(event.data) + EVENT_BYTES
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    def _encryption_context(self, method: str, namespace: Sequence[str], data: Any, node: str | None) -> Event:
        event = self._event(method, b"", CHANNELS)
        params = channel_params(event.ms, namespace, data, node)
        event.data = to_lean_json(params)
        # Events about a run's end are sent whatever their size: readers wait for them.
        if len(event.data) > self._largest and method != "lifecycle":
            params["data"] = {"__error__": self._too_large(method, len(event.data))}
            event.data = to_lean_json(params)
        return event

    def _sized(self, name: str, data: bytes) -> tuple[str, bytes]:
        """Returns name and data of an event, or of an error event in place of one that is too large."""
        if len(data) <= self._largest:
            return name, data
        return "error", to_json(self._too_large(name, len(data)))

    def _too_large(self, name: str, size: int) -> dict[str, str]:
        text = (
            f"An event {name!r} has {size} bytes; MAX_STREAM_CHUNK_SIZE_BYTES allows {self._largest}. The run goes on."
        )
        log.warning("%s", text)
        return {"error": "EventTooLarge", "message": text}

    def _event(self, name: str, data: bytes, mode: str) -> Event:
        ms, n = self._numbers.next()
        self._since += 1
        run = self._run
        return Event(thread_id=run.thread_id, run_id=run.run_id, name=name, data=data, mode=mode, ms=ms, n=n)

    async def _flush(self) -> None:
        while self._buffer:
            batch, self._buffer, size = self._buffer, [], self._unstored
            if size > STORED_BYTES:
                batch, self._buffer = _first(batch, STORED_BYTES)
                size = size_of(batch)
            try:
                if self._failure is None:
                    await self._store(batch)
                    self._log.add(batch[-1].seq, size)
                    self._broker.publish(batch)
                    self._published += size
            except ThreadloomError as failure:
                self._failure = failure
            finally:
                self._unstored -= size

    async def _store(self, batch: Sequence[Event]) -> None:
        """Stores events exactly once, even if the connection was lost before the database confirmed the commit."""
        run = self._run
        tried = False
        values = self._values.of(batch)

        async def work(tx: Tx) -> None:
            if tried and await self._is_stored(tx, batch):
                return
            if not await tx.runs.holds(run.run_id, run.fence):
                raise LostLeaseError(f"run {run.run_id} was taken over or removed")
            stored = await tx.events.append(batch, values)
            newest = stored[-1].seq
            if too_much or newest // every != (stored[0].seq - 1) // every:
                await tx.events.trim(run.thread_id, max(1, min(self._most, newest - too_much)))

        async def store() -> None:
            nonlocal tried, values
            try:
                await self._storage.write(work)
            except StaleRefsError:
                values = self._values.of(batch, whole=True)
                await self._storage.write(work)
            finally:
                tried = True

        every = min(1000, self._most)
        too_much = self._log.too_much()
        await with_retries(store)
        self._newest = batch[-1].seq

    async def _is_stored(self, tx: Tx, batch: Sequence[Event]) -> bool:
        """Returns whether the events are stored. If so, sets their numbers."""
        run, first = self._run, batch[0]
        if self.channels:
            found = await tx.events.of_channels(
                run.thread_id, after=self._newest, run_id=run.run_id, limit=len(batch), size=None
            )
        else:
            found = await tx.events.of_run(run.run_id, after=(first.ms, first.n - 1), limit=len(batch), size=None)
        for event, stored in zip(batch, found, strict=False):
            event.seq = stored.seq
        return bool(found)


def channel_params(ms: int, namespace: Sequence[str], data: Any, node: str | None = None) -> dict[str, Any]:
    """Returns the `params` of a v2 event (docs/contract/protocols.md#events)."""
    named = {} if node is None else {"node": node}
    return {"namespace": list(namespace), "timestamp": ms, **named, "data": data}


def _first(events: list[Event], size: int) -> tuple[list[Event], list[Event]]:
    """Splits events at a size in bytes: returns the first ones and the rest."""
    for number, event in enumerate(events, 1):
        size -= len(event.data) + EVENT_BYTES
        if size <= 0:
            return events[:number], events[number:]
    return events, []


class _Log:
    """Tracks the stored events of a run: their numbers and sizes, without those that were trimmed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sizes: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def add(self, newest: int, size: int) -> None:
        """Records a stored batch: the number of its last event, and its bytes."""
        self._sizes.append((newest, size))
        self._bytes += size

    def too_much(self) -> int:
        """Returns the number up to which events must be deleted because the run has too many bytes; 0: none. Counts them as
        deleted.
        """
        gone = 0
        # Removes a quarter at once, so that not every batch causes a deletion.
        if self._bytes > self._most:
            while self._sizes and self._bytes > self._most * 3 // 4:
                gone, size = self._sizes.popleft()
                self._bytes -= size
        return gone


def closing(thread_id: str, run_id: str, status: str, numbers: EventIds | None = None) -> Event:
    """Returns the event that closes a run's stream. `status` is how the run ended. Without `numbers` the event has no id."""
    ms, n = (0, 0) if numbers is None else numbers.next()
    data = to_json({"run_id": run_id, "status": status})
    return Event(thread_id=thread_id, run_id=run_id, name="end", data=data, ms=ms, n=n, last=True)
