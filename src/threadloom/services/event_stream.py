"""The v2 event stream of a thread: what was told, then what is being told, in the order of its numbers.

See docs/contract/protocols.md#subscribing.
"""

from collections.abc import AsyncGenerator, Sequence

import msgspec

from threadloom.auth.authorize import Guard
from threadloom.broker.base import Broker
from threadloom.codec import to_json
from threadloom.errors import NotFound
from threadloom.services.event_filter import EventFilter
from threadloom.services.event_replay import ChannelReader, channel_page
from threadloom.services.limits import Limits, StreamSlot
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.types import METHODS, Caller, Event


class EventFeed:
    """Events of a thread that a filter lets pass, in batches, without end. Close it when the reader is gone.

    `gap`: events that the reader asked for are no longer stored.
    """

    def __init__(self, batches: AsyncGenerator[Sequence[Event], None], slot: StreamSlot | None, *, gap: bool) -> None:
        self._batches = batches
        self._slot = slot
        self.gap = gap

    def __aiter__(self) -> "EventFeed":
        return self

    async def __anext__(self) -> Sequence[Event]:
        return await self._batches.__anext__()

    async def aclose(self) -> None:
        if self._slot is not None:
            self._slot.close()
        await self._batches.aclose()


class EventStreamService:
    """How the events of threads are read. They are stored before anybody is told: the broker only says that there are more."""

    def __init__(self, *, storage: Storage, guard: Guard, broker: Broker, limits: Limits) -> None:
        self.limits = limits
        self._storage = storage
        self._guard = guard
        self._broker = broker

    async def may_read(self, caller: Caller, thread_id: str) -> Filter | None:
        """Lets a caller pass who may read a thread, or one that does not exist yet; gives the rule it must fit.

        Raises:
            NotFound: the thread is there, and the caller may not read it.
        """
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        if rule is not None:
            await self._storage.read(lambda tx: readable(tx, thread_id, rule))
        return rule

    async def open(self, caller: Caller, thread_id: str, wanted: EventFilter, *, counts: bool = True) -> EventFeed:
        """The events after `wanted.since`, stored ones first. The thread need not exist yet.

        Args:
            counts: whether it is one of the caller's open streams; a web socket is one itself, whatever it subscribes to.

        Raises:
            NotFound: as `may_read`.
            TooMany: the caller has as many open streams as may be.
        """
        rule = await self.may_read(caller, thread_id)
        floor = await self._storage.read(lambda tx: tx.events.floor(thread_id))
        slot = self.limits.open_stream(caller) if counts else None
        return EventFeed(self._wanted(thread_id, wanted, rule), slot, gap=0 < wanted.since < floor)

    async def newest(self, thread_id: str) -> int:
        """The number of the thread's newest event."""
        return await self._storage.read(lambda tx: tx.events.last_channel_seq(thread_id))

    async def replay(self, thread_id: str, wanted: EventFilter, upto: int) -> AsyncGenerator[Sequence[Event], None]:
        """The stored events after `wanted.since`, up to a number, in batches."""
        after = wanted.since
        while after < upto:
            page = await channel_page(self._storage, thread_id, after, wanted.methods, upto)
            if events := [event for event in page.events if wanted.passes(event)]:
                yield events
            after = page.last

    def follow(
        self, thread_id: str, after: int, methods: frozenset[str] = frozenset(METHODS), rule: Filter | None = None
    ) -> AsyncGenerator[Sequence[Event], None]:
        """All events of some methods after a number, without gap or double, until the thread is deleted; with a rule, until the
        thread does not fit it any more: it may be given away, and another one may get its id.

        Raises:
            ReaderTooSlow: events that it was still to give are stored no more.
        """
        reader = ChannelReader(
            storage=self._storage, broker=self._broker, thread_id=thread_id, rule=rule, methods=methods, after=after
        )
        return reader.batches()

    async def _wanted(
        self, thread_id: str, wanted: EventFilter, rule: Filter | None
    ) -> AsyncGenerator[Sequence[Event], None]:
        feed = self.follow(thread_id, wanted.since, wanted.methods, rule)
        try:
            async for batch in feed:
                if events := [event for event in batch if wanted.passes(event)]:
                    yield events
        finally:
            await feed.aclose()


async def readable(tx: Tx, thread_id: str, rule: Filter | None) -> None:
    """Lets pass a thread that a rule permits, and one that is not there.

    Raises:
        NotFound: it is there, and the rule does not permit it.
    """
    if rule is None:
        return
    thread = await tx.threads.get(thread_id, with_state=False)
    if thread is not None and not permits(rule, thread.metadata):
        raise NotFound(f"Thread with ID {thread_id} not found")


class _EventData(msgspec.Struct):
    event: str = ""
    interrupt_id: str = ""


class _Params(msgspec.Struct):
    namespace: list[str]
    data: _EventData


def _event_id(event: Event) -> bytes:
    """The id of an event, as JSON. Of lives and questions it is one that the JavaScript SDK reads the run's id out of.

    See docs/contract/protocols.md#events.
    """
    if event.name == "lifecycle":
        params = msgspec.json.decode(event.data, type=_Params)
        return to_json(f"synth:{event.run_id}:lc|{'|'.join(params.namespace)}|{params.data.event}")
    if event.name == "input.requested":
        params = msgspec.json.decode(event.data, type=_Params)
        if params.data.interrupt_id:  # not there when the question was too large to be told
            return to_json(f"synth:{event.run_id}:input||{params.data.interrupt_id}")
    return f'"{event.run_id}:{event.seq}"'.encode()


def envelope(event: Event) -> bytes:
    """An event as clients get it."""
    return b'{"type":"event","event_id":%b,"seq":%d,"method":"%b","params":%b}' % (
        _event_id(event),
        event.seq,
        event.name.encode(),
        event.data,
    )
