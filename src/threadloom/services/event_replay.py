"""Reads the events of a run, of a thread, or of a thread's v2 channels from a cursor on: first those that are stored, then those
that are published, in order, each once.

`EventReader.batches` is the procedure. Its subclasses say which log is read and how its end is recognised.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence, Set
from typing import Any

import msgspec

from threadloom.broker.base import Broker, EventsLost, EventsMissed, Follower, ReaderTooSlow, before_gone
from threadloom.engine.events import EventIds, closing
from threadloom.services.permission import visible_thread
from threadloom.services.stream_selection import Selection, of_thread
from threadloom.services.waiting import LONG_SILENCE, is_over, next_events
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.types import Event, Outcome, Run

PAGE = 500
"""Stored events of v2 channels that are read at once."""

NEVER = -1
"""A number that no stored event follows: the first published event is compared with what is stored."""


class LogCursor(msgspec.Struct):
    """How far a reader has come: id and number in the log of the last event that it got.

    Without a number it began in the middle of the log, and whatever comes first is the next event.
    """

    after: tuple[int, int] = (0, 0)
    seq: int | None = None

    def move(self, event: Event) -> None:
        self.after, self.seq = (event.ms, event.n), event.seq

    def comes_before(self, event: Event) -> bool:
        """Whether nothing that is stored lies between it and an event."""
        return self.seq is None or event.seq == self.seq + 1


async def from_now(storage: Storage, run: Run) -> LogCursor:
    """The cursor of a reader of the events from now on. Ask for it before following the run: what is published in between is
    stored, and counts as missed.
    """
    last = await storage.read(lambda tx: tx.events.last_of_run(run.run_id))
    return LogCursor(seq=NEVER) if last is None else LogCursor(after=last[:2], seq=last[2])


class EventReader(msgspec.Struct, kw_only=True, eq=False):
    """Reads one log of events, once.

    Attributes:
        follower: of the thread, made before the first page is read, so that no event falls between.
        rule: what the thread must fit for events to be given; None permits all.
        behind: whether events may be stored that were not given yet.
        complete: whether all events are stored, so that those which the follower lost can be read.
        ended: whether nothing comes after what was given.
        on_disconnect: called when the reader leaves before the end.
    """

    storage: Storage
    thread_id: str
    follower: Follower | None = None
    rule: Filter | None = None
    behind: bool = False
    complete: bool = False
    ended: bool = False
    on_disconnect: Callable[[], Awaitable[None]] | None = None

    async def batches(self) -> AsyncGenerator[Sequence[Event], None]:
        """Returns the events in batches, none of them empty. Closes the follower at its end.

        Raises:
            EventsMissed: some events are gone for good.
            Unavailable: the run cannot end, since the database takes nothing.
        """
        try:
            events = () if self.behind else await self.caught_up()
            while True:
                if events:
                    shown = self.show(events)
                    if self.rule is not None and not await self.permitted(shown):
                        return
                    if shown:
                        yield shown
                if self.ended:
                    return
                if self.behind:
                    if events := await self.stored():
                        self.move(events)
                    else:
                        self.behind = False
                        events = await self.caught_up()
                    continue
                try:
                    events = await self.live()
                except EventsMissed:
                    if not self.complete:
                        raise
                    self.behind, events = True, ()
                    continue
                if not events and not self.ended:
                    events = await self.silent()
                elif events and not self.is_next(events):
                    events = await self.fill(events)
                if events:
                    self.move(events)
        except EventsMissed:
            self.on_disconnect = None  # the reader did not leave: it may come back
            raise
        finally:
            if self.follower is not None:
                self.follower.close()
            if self.on_disconnect is not None and not self.ended:
                await self.on_disconnect()

    # --- what differs from log to log ---

    async def stored(self) -> Sequence[Event]:
        """Returns a page of the stored events after the cursor; empty: there are no more."""
        raise NotImplementedError

    async def caught_up(self) -> Sequence[Event]:
        """Returns what is given between the stored events and the published ones."""
        return ()

    async def live(self) -> Sequence[Event]:
        """Returns published events that were not given yet; empty: nothing came for a while, or the log has ended."""
        raise NotImplementedError

    async def silent(self) -> Sequence[Event]:
        """Returns what is given when nothing came for a while: whoever was to publish something may have died."""
        raise NotImplementedError

    def is_next(self, events: Sequence[Event]) -> bool:
        """Whether no stored event lies between the cursor and published ones."""
        raise NotImplementedError

    async def fill(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns what is given in place of published events that are not next."""
        raise NotImplementedError

    def move(self, events: Sequence[Event]) -> None:
        """Moves the cursor behind events that are given."""
        raise NotImplementedError

    def show(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns those events that the reader wants."""
        raise NotImplementedError

    async def permitted(self, shown: Sequence[Event]) -> bool:
        """Whether the thread is there and fits the rule: it may be given away, and another one may get its id."""
        return await self.storage.read(lambda tx: visible_thread(tx, self.thread_id, self.rule)) is not None


class RunReader(EventReader, kw_only=True, eq=False):
    """The events of one run, up to its last.

    Attributes:
        end: the run or its outcome, if it had ended when it was asked for.
        over: whether the run has ended; None: it may have ended before the follower was there.
    """

    run_id: str
    wanted: Selection
    cursor: LogCursor
    end: Run | Outcome | None = None
    over: bool | None = None
    over_in_silence: bool = False

    async def stored(self) -> Sequence[Event]:
        """
        Raises:
            ReaderTooSlow: some events after the cursor are no longer stored.
        """
        cursor = self.cursor
        seq = cursor.seq
        joining = self.over is None or self.end is not None  # is given what is still stored

        async def work(tx: Tx) -> Sequence[Event]:
            events = await tx.events.of_run(self.run_id, after=cursor.after)
            if events and not joining and seq not in (None, NEVER) and not cursor.comes_before(events[0]):
                [oldest] = await tx.events.of_thread(self.thread_id, limit=1)
                if seq is not None and oldest.seq > seq + 1:
                    raise ReaderTooSlow("The reader was too slow: what it was to get next is no longer stored")
            return events

        return await self.storage.read(work)

    async def caught_up(self) -> Sequence[Event]:
        """The end of a run that is over."""
        if self.over is None:
            self.over = await is_over(self.storage, self.run_id)
            if self.over:
                self.on_disconnect = None
                self.behind = self.cursor.seq is not None  # what was stored before it ended
                if self.behind:
                    return ()
        self.ended = self.over
        return await self._closing() if self.over and self.wanted.end_event else ()

    async def _closing(self) -> Sequence[Event]:
        """The last event of a run, unless the reader got it earlier."""
        end = self.end
        if end is None:
            end = await self.storage.read(lambda tx: tx.runs.get(self.run_id))
            end = end or await self.storage.read(lambda tx: tx.runs.outcome(self.run_id))
        else:
            ms, n = self.cursor.after
            found = await self.storage.read(lambda tx: tx.events.of_run(self.run_id, after=(ms, n - 1), limit=1))
            if found and found[0].last and (found[0].ms, found[0].n) == (ms, n):
                return ()
        return () if end is None else [closing(end.thread_id, self.run_id, end.status)]

    def live(self) -> Coroutine[Any, Any, Sequence[Event]]:
        assert self.follower is not None
        return next_events(self.follower, self.run_id, self.cursor.after)

    async def silent(self) -> Sequence[Event]:
        """What is stored and was not published: a worker may die in between, and the next one goes on after that.

        Raises:
            EventsLost: the run is over, and its end was neither stored nor published.
        """
        if self.complete and (missed := await self.stored()):
            self.behind = True
            return missed
        if self.over_in_silence:
            raise EventsLost("How the run ended was told to nobody")
        self.over_in_silence = await is_over(self.storage, self.run_id)
        return ()

    def is_next(self, events: Sequence[Event]) -> bool:
        return not self.complete or self.cursor.comes_before(events[0])

    async def fill(self, events: Sequence[Event]) -> Sequence[Event]:
        missed = await self.stored()
        self.behind = bool(missed) and missed[-1].seq < events[-1].seq
        return missed or events

    def move(self, events: Sequence[Event]) -> None:
        self.cursor.move(events[-1])
        self.over_in_silence = False
        self.ended = any(event.last for event in events)

    def show(self, events: Sequence[Event]) -> Sequence[Event]:
        return self.wanted.of(events)


class ThreadReader(EventReader, kw_only=True, eq=False):
    """The events of all runs of a thread until it is deleted. Not all of them are stored.

    Attributes:
        replayed: the id of the last stored event that was given before published ones.
        running: runs of which published events were given, but not the last.
    """

    modes: Set[str]
    cursor: LogCursor
    numbers: EventIds
    replayed: tuple[int, int] = (0, 0)
    running: set[str] = set()

    async def stored(self) -> Sequence[Event]:
        if page := await self._page(self.cursor.after):
            self.replayed = (page[-1].ms, page[-1].n)
        return page

    async def _page(self, after: tuple[int, int]) -> Sequence[Event]:
        return await self.storage.read(lambda tx: tx.events.of_thread(self.thread_id, after=after))

    async def live(self) -> Sequence[Event]:
        assert self.follower is not None
        while heard := await self.follower.next(LONG_SILENCE):
            heard, self.ended = before_gone(heard)
            if (events := self._new(heard)) or self.ended:
                return events
        return ()

    def _new(self, events: Sequence[Event]) -> Sequence[Event]:
        return [event for event in events if (event.ms, event.n) > self.replayed]

    async def silent(self) -> Sequence[Event]:
        """The ends of those runs that are over, though their last event was not published."""
        if not await self.permitted(()):
            self.ended = True
            return ()
        over = [run_id for run_id in self.running if await is_over(self.storage, run_id)]
        return self._new([closing(self.thread_id, run_id, "interrupted", self.numbers) for run_id in over])

    def is_next(self, events: Sequence[Event]) -> bool:
        for event in events:
            if event.seq:
                return self.cursor.comes_before(event)
        return True

    async def fill(self, events: Sequence[Event]) -> Sequence[Event]:
        """Stored events, then the published ones: some of these are not stored."""
        first = next(event.seq for event in events if event.seq)
        missed: list[Event] = []
        after = self.cursor.after
        while page := await self._page(after):
            missed += [event for event in page if event.seq < first]
            if page[-1].seq >= first:
                break
            after = (page[-1].ms, page[-1].n)
        return [*missed, *events]

    def move(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.seq:
                self.cursor.move(event)
            if not self.behind:
                self.running.add(event.run_id)
        if not self.behind:
            self.running.difference_update([event.run_id for event in events if event.last])

    def show(self, events: Sequence[Event]) -> Sequence[Event]:
        return of_thread(events, self.modes)


class ChannelReader(EventReader, kw_only=True, eq=False):
    """The events of a thread's v2 channels until it is deleted. They are stored before they are published. The thread need not
    exist yet.

    Attributes:
        after: the number of the last event that was given.
        floor: the number up to which events were removed when the reader came.
    """

    broker: Broker
    methods: frozenset[str]
    after: int
    behind: bool = True
    complete: bool = True
    floor: int | None = None
    existed: bool = False

    async def stored(self) -> Sequence[Event]:
        """
        Raises:
            ReaderTooSlow: events that were to be given next are no longer stored.
        """
        if self.follower is None:
            self.follower = await self.broker.follow(self.thread_id, channels=True)
        page = await channel_page(self.storage, self.thread_id, self.after, self.methods)
        if self.floor is None:
            self.floor = page.floor
        elif page.floor > max(self.after, self.floor):
            raise ReaderTooSlow("The reader was too slow: what it was to get next is no longer stored")
        self.after = page.last
        return page.events

    async def live(self) -> Sequence[Event]:
        assert self.follower is not None
        heard, self.ended = before_gone(await self.follower.next(LONG_SILENCE))
        return [event for event in heard if event.seq > self.after]

    async def silent(self) -> Sequence[Event]:
        exists = await self.storage.read(lambda tx: tx.threads.permitted(self.thread_id, None))
        if self.existed and not exists:
            self.ended = True
            return ()
        self.existed = exists
        newest = await self.storage.read(lambda tx: tx.events.last_channel_seq(self.thread_id))
        self.behind = newest != self.after
        if newest < self.after:
            self.after, self.floor = 0, None  # the thread was deleted, and another one has its id
        return ()

    def is_next(self, events: Sequence[Event]) -> bool:
        """Runs follow each other, and the last event of one may arrive after the first of the next."""
        number = self.after
        for event in events:
            number += 1
            if event.seq != number:
                return False
        return True

    async def fill(self, events: Sequence[Event]) -> Sequence[Event]:
        self.behind = not self.ended  # of a deleted thread nothing is stored
        return ()

    def move(self, events: Sequence[Event]) -> None:
        self.after = events[-1].seq

    def show(self, events: Sequence[Event]) -> Sequence[Event]:
        return [event for event in events if event.name in self.methods]

    async def permitted(self, shown: Sequence[Event]) -> bool:
        return not shown or await super().permitted(shown)


class ChannelPage(msgspec.Struct):
    """Stored events of v2 channels; `last` is the number up to which the log was read, `floor` that up to which some may be
    removed.
    """

    events: list[Event]
    last: int
    floor: int = 0


async def channel_page(
    storage: Storage, thread_id: str, after: int, methods: frozenset[str], upto: int | None = None
) -> ChannelPage:
    """Returns a page of the events of some methods after a number, up to another one (None: to the newest)."""

    async def work(tx: Tx) -> ChannelPage:
        last = await tx.events.last_channel_seq(thread_id) if upto is None else upto
        events = await tx.events.of_channels(thread_id, after=after, upto=last, methods=methods, limit=PAGE)
        return ChannelPage(events, events[-1].seq if events else max(last, after), await tx.events.floor(thread_id))

    return await storage.read(work)
