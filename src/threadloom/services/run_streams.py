"""Watching runs: streams, waiting, joining.

See docs/contract/runs.md#event-streams, docs/contract/runs.md#wait-and-join.
"""

from collections.abc import AsyncGenerator, Awaitable, Sequence, Set

from threadloom.auth.authorize import Guard
from threadloom.broker.base import Broker, EventsLost, EventsMissed, Follower, before_gone
from threadloom.codec import to_json
from threadloom.encryption.cipher import UndecipherableError
from threadloom.engine.events import EventIds, closing
from threadloom.errors import ApiError, NotFound, StorageError, Unavailable
from threadloom.services.limits import Limits
from threadloom.services.log_cursor import NEVER, LogCursor, from_now, missed_events
from threadloom.services.open_stream import OpenStream
from threadloom.services.permission import visible_thread
from threadloom.services.requests import RunCreate
from threadloom.services.run_outputs import RunOutputs
from threadloom.services.run_start import RunStartService
from threadloom.services.runs import RunService
from threadloom.services.stream_selection import (
    FROM_THE_START,
    NOWHERE,
    Selection,
    namespaces_of,
    of_thread,
    place_after,
)
from threadloom.services.waiting import LONG_SILENCE, next_events, wait_for_end
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.types import ACTIVE, CHECKPOINT_MARK, SYSTEM, Caller, Event, Outcome, Run


class RunNotFound(NotFound):
    """A run to join that is not there: 404 with the body that a failed run has."""


class RunStreamService:
    """How runs are watched; `starts` makes them, `runs` stops them. Event streams count towards the `limits`: each method that
    opens one raises TooMany.

    Args:
        end_event: whether an `end` event closes the stream of each run (setting `end_event`).
    """

    def __init__(
        self,
        *,
        storage: Storage,
        guard: Guard,
        broker: Broker,
        numbers: EventIds,
        starts: RunStartService,
        runs: RunService,
        outputs: RunOutputs,
        limits: Limits,
        end_event: bool = False,
    ) -> None:
        self._end_event = end_event
        self._limits = limits
        self._storage = storage
        self._guard = guard
        self._broker = broker
        self._numbers = numbers
        self._starts = starts
        self._runs = runs
        self._outputs = outputs

    # --- make and watch ---

    async def stream(
        self, caller: Caller, thread_id: str | None, request: RunCreate, *, namespaces: Sequence[str] = ()
    ) -> tuple[Run, OpenStream]:
        """Makes a run and follows it from its first event. Raises as `RunService.create`.

        Args:
            namespaces: as `join_stream`.
        """
        wanted = self._selection(None, namespaces)
        slot = self._limits.open_stream(caller)
        try:
            run, follower = await self._make(caller, thread_id, request, events=True)
        except BaseException:
            slot.close()
            raise
        batches = self._follow(run, follower, wanted, cancel=request.on_disconnect == "cancel", fresh=True)
        return run, OpenStream(batches, slot, follower, ids=request.stream_resumable)

    async def wait(self, caller: Caller, thread_id: str | None, request: RunCreate) -> tuple[Run, Awaitable[bytes]]:
        """Makes a run; awaiting the second part gives its output as JSON. Raises as `RunService.create`."""
        run, follower = await self._make(caller, thread_id, request, events=False)
        return run, self._output(run, follower, cancel=request.on_disconnect == "cancel", fresh=True)

    async def _make(
        self, caller: Caller, thread_id: str | None, request: RunCreate, *, events: bool
    ) -> tuple[Run, Follower]:
        """Makes a run on a thread that is followed already, so that no event of it can be missed."""
        prepared = await self._starts.prepare(caller, thread_id, request, watched=True)
        follower = await self._broker.follow(prepared.target, events=events)
        try:
            return await self._starts.start(prepared), follower
        except BaseException:
            follower.close()
            raise

    # --- join ---

    async def join(
        self, caller: Caller, thread_id: str | None, run_id: str, *, cancel_on_disconnect: bool = False
    ) -> Awaitable[bytes]:
        """Awaiting the result gives the run's output as JSON, whether it still runs or has ended.

        Raises:
            NotFound: the caller may not see the thread.
            RunNotFound: there is no such run, and its outcome is no longer kept.
        """
        run, outcome = await self._find(caller, thread_id, run_id)
        if outcome is not None:
            return self._outputs.read(outcome)
        assert run is not None
        follower = await self._broker.follow(run.thread_id, events=False)
        return self._output(run, follower, cancel=cancel_on_disconnect)

    async def join_stream(
        self,
        caller: Caller,
        thread_id: str | None,
        run_id: str,
        *,
        modes: Set[str] | None = None,
        namespaces: Sequence[str] = (),
        last_event_id: str | None = None,
        checkpoint_id: str | None = None,
        cancel_on_disconnect: bool = False,
    ) -> OpenStream:
        """Follows a run from now on, or, when it is resumable, from after `last_event_id` (`-`, `-1`, `0`: from its start; a text
        that is no id: from now on).

        Args:
            modes: only events of these stream modes (and how it ends); None gives all.
            namespaces: only events of these graphs within the graph, as `namespaces_of` reads them; none gives all.
            checkpoint_id: a resumable run is told from after this checkpoint on, or from its start when it is none of the
                run's; unless `last_event_id` names an event.

        Raises:
            NotFound, RunNotFound: as `join`.
            Invalid: too many namespaces.
        """
        wanted = self._selection(modes, namespaces)
        run, outcome = await self._find(caller, thread_id, run_id)
        after = place_after(last_event_id)
        resumable = bool(run and run.kwargs.get("resumable")) or outcome is not None
        if checkpoint_id and after in (None, FROM_THE_START):
            after = await self._after_checkpoint(run_id, checkpoint_id)
        slot = self._limits.open_stream(caller)
        follower = None
        if run is None or run.status not in ACTIVE:
            batches = self._ended(run_id, after, wanted, run or outcome)
        elif resumable and after is not None and after != NOWHERE:
            follower = await self._broker.follow(run.thread_id)
            batches = self._resume(run, follower, after, wanted, cancel_on_disconnect)
        else:
            now = await from_now(self._storage, run) if resumable else None
            follower = await self._broker.follow(run.thread_id)
            batches = self._follow(run, follower, wanted, cancel=cancel_on_disconnect, cursor=now)
        return OpenStream(batches, slot, follower, ids=resumable)

    async def thread_stream(
        self, caller: Caller, thread_id: str, *, modes: Set[str], last_event_id: str | None = None
    ) -> OpenStream:
        """Follows all runs of a thread until the reader leaves; stored events after `last_event_id` come first.

        Raises:
            NotFound: there is no such thread.
        """
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        if await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule)) is None:
            raise NotFound("Thread not found")
        slot = self._limits.open_stream(caller)
        follower = await self._broker.follow(thread_id)
        batches = self._all(thread_id, follower, place_after(last_event_id), modes, rule)
        return OpenStream(batches, slot, follower, ids=True)

    # --- how the batches come ---

    async def _follow(
        self,
        run: Run,
        follower: Follower,
        wanted: Selection,
        *,
        cancel: bool = False,
        cursor: LogCursor | None = None,
        fresh: bool = False,
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Events of a run from a place on (None: from now on) until its last. Unless it is `fresh`, it may have ended before the
        follower was there.

        Raises:
            EventsMissed: some of its events are gone for good.
        """
        cursor = cursor or LogCursor(seq=NEVER if fresh else None)
        ended = False
        try:
            if not fresh and await self._is_over(run.run_id):
                ended, told = True, False
                while cursor.seq is not None and (missed := await missed_events(self._storage, run, cursor)):
                    cursor.move(missed[-1])
                    told = any(event.last for event in missed)
                    if shown := wanted.of(missed):
                        yield shown
                if not told and (shown := wanted.of(await self._closed(run.run_id, [], wanted))):
                    yield shown
                return
            while not ended:
                events = await self._next_events(run, follower, cursor)
                cursor.move(events[-1])
                ended = any(event.last for event in events)
                if shown := wanted.of(events):
                    yield shown
        except EventsMissed:
            cancel = False  # the reader did not hang up: it may come back
            raise
        finally:
            follower.close()
            if cancel and not ended:
                await self._on_disconnect(run)

    async def _next_events(self, run: Run, follower: Follower, cursor: LogCursor) -> Sequence[Event]:
        """What a follower of a run hears next. What it missed is read where it is stored: a worker may die after it stored
        something and before it told, and the next one goes on after that; or it told the end to nobody.

        Raises:
            EventsMissed: it missed something that is not stored, or not any more.
        """
        stored = bool(run.kwargs.get("resumable")) and not run.kwargs.get("event_streaming")
        over = False
        while True:
            if cursor.behind:
                if events := await missed_events(self._storage, run, cursor):
                    return events
                cursor.behind = False
            try:
                events = await next_events(follower, run.run_id, cursor.after)
            except EventsMissed:
                if not stored:
                    raise
                cursor.behind = True
                continue
            whole = not stored or (events and cursor.comes_before(events[0]))
            if not whole and (missed := await missed_events(self._storage, run, cursor)):
                cursor.behind = not events or missed[-1].seq < events[-1].seq
                return missed
            if events:
                return events
            if over:
                raise EventsLost("How the run ended was told to nobody")
            over = await self._is_over(run.run_id)

    async def _resume(
        self, run: Run, follower: Follower, after: tuple[int, int], wanted: Selection, cancel: bool
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Stored events after an id, then live ones. The follower was there first, so nothing falls between."""
        cursor = LogCursor(after=after, seq=NEVER)
        try:
            async for batch in self._stored(run.run_id, after):
                cursor.move(batch[-1])
                if shown := wanted.of(batch):
                    yield shown
                if batch[-1].last:
                    follower.close()
                    cancel = False
                    return
        except BaseException:
            follower.close()
            if cancel:
                await self._on_disconnect(run)
            raise
        live = self._follow(run, follower, wanted, cancel=cancel, cursor=cursor)
        try:
            async for batch in live:
                yield batch
        finally:
            await live.aclose()

    async def _stored(self, run_id: str, after: tuple[int, int] | None) -> AsyncGenerator[Sequence[Event], None]:
        """What is stored of a run after an id; nothing without one."""
        while after is not None:
            last = after
            batch = await self._storage.read(lambda tx: tx.events.of_run(run_id, after=last))  # noqa: B023
            if not batch:
                return
            after = (batch[-1].ms, batch[-1].n)
            yield batch

    async def _ended(
        self, run_id: str, after: tuple[int, int] | None, wanted: Selection, end: Run | Outcome | None
    ) -> AsyncGenerator[Sequence[Event], None]:
        """What is stored of a run that has ended, after an id; then its end, unless that id is the end's."""
        told = after is not None and await self._is_end(run_id, after)
        async for batch in self._stored(run_id, after):
            told = told or batch[-1].last
            if shown := wanted.of(batch):
                yield shown
        if wanted.end_event and not told and end is not None:
            yield [closing(end.thread_id, run_id, end.status)]

    async def _is_end(self, run_id: str, at: tuple[int, int]) -> bool:
        """Whether the event with an id is the run's last."""
        before = (at[0], at[1] - 1)
        found = await self._storage.read(lambda tx: tx.events.of_run(run_id, after=before, limit=1))
        return bool(found) and found[0].last and (found[0].ms, found[0].n) == at

    async def _closed(self, run_id: str, events: Sequence[Event], wanted: Selection) -> Sequence[Event]:
        """The last events of a run that has ended while its reader came, with its end."""
        if not wanted.end_event or any(event.last for event in events):
            return events
        run = await self._storage.read(lambda tx: tx.runs.get(run_id))
        outcome = await self._storage.read(lambda tx: tx.runs.outcome(run_id)) if run is None else None
        end = run or outcome
        return events if end is None else [*events, closing(end.thread_id, run_id, end.status)]

    async def _after_checkpoint(self, run_id: str, checkpoint_id: str) -> tuple[int, int]:
        """The place of a run's events after a checkpoint; their start when it is none of the run's."""
        async for batch in self._stored(run_id, FROM_THE_START):
            for event in batch:
                if event.mode == CHECKPOINT_MARK and event.name == checkpoint_id:
                    return event.ms, event.n
        return FROM_THE_START

    def _selection(self, modes: Set[str] | None, namespaces: Sequence[str]) -> Selection:
        return Selection(modes=modes, namespaces=namespaces_of(namespaces), end_event=self._end_event)

    async def _all(
        self, thread_id: str, follower: Follower, after: tuple[int, int] | None, modes: Set[str], rule: Filter | None
    ) -> AsyncGenerator[Sequence[Event], None]:
        """All events of a thread. With a rule, only as long as the thread fits it: another one may get its id."""
        last = (0, 0)
        cursor = LogCursor()
        running: set[str] = set()
        try:
            while after is not None:
                since = after
                batch = await self._storage.read(lambda tx: tx.events.of_thread(thread_id, after=since))  # noqa: B023
                if not batch:
                    break
                if not await self._still_visible(thread_id, rule):
                    return
                after = last = (batch[-1].ms, batch[-1].n)
                cursor.move(batch[-1])
                if wanted := of_thread(batch, modes):
                    yield wanted
            while True:
                heard = await follower.next(LONG_SILENCE)
                if not heard:
                    if await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule)) is None:
                        return
                    heard = await self._ends(thread_id, running)
                heard, gone = before_gone(heard)
                events = [event for event in heard if (event.ms, event.n) > last]
                if stored := [event for event in events if event.seq]:
                    if not cursor.comes_before(stored[0]):
                        events = [*await self._between(thread_id, cursor, stored[0]), *events]
                    cursor.move(stored[-1])
                running.update(event.run_id for event in events)
                running.difference_update([event.run_id for event in events if event.last])
                if not await self._still_visible(thread_id, rule):
                    return
                if wanted := of_thread(events, modes):
                    yield wanted
                if gone:
                    return
        finally:
            follower.close()

    async def _between(self, thread_id: str, cursor: LogCursor, event: Event) -> list[Event]:
        """What is stored of a thread between a place and an event, and was told to nobody."""
        found: list[Event] = []
        after = cursor.after
        while page := await self._storage.read(lambda tx: tx.events.of_thread(thread_id, after=after)):  # noqa: B023
            found += [one for one in page if one.seq < event.seq]
            if page[-1].seq >= event.seq:
                break
            after = (page[-1].ms, page[-1].n)
        return found

    async def _output(self, run: Run, follower: Follower, *, cancel: bool, fresh: bool = False) -> bytes:
        ended = False
        try:
            ended = not fresh and await self._is_over(run.run_id)
            while not ended:
                ended = await wait_for_end(follower, run.run_id) or await self._is_over(run.run_id)
        finally:
            follower.close()
            if cancel and not ended:
                await self._on_disconnect(run)
        return await self._output_of(run.run_id)

    async def _output_of(self, run_id: str) -> bytes:
        """What `wait` gives of a run that has ended: a response that has begun can tell of a fault in no other way."""

        async def work(tx: Tx) -> tuple[Outcome | None, Run | None]:
            outcome = await tx.runs.outcome(run_id)
            return outcome, None if outcome is not None else await tx.runs.get(run_id)

        try:
            outcome, run = await self._storage.read(work)
            if outcome is not None:
                return await self._outputs.read(outcome)
        except UndecipherableError as error:
            return _unreadable(error.detail)
        return _unreadable("What came of the run could not be encrypted") if run and run.status == "error" else b"{}"

    async def _ends(self, thread_id: str, running: Set[str]) -> list[Event]:
        """The last events of those runs that have ended, though nobody told."""
        return [
            closing(thread_id, run_id, "interrupted", self._numbers)
            for run_id in running
            if await self._is_over(run_id)
        ]

    async def _on_disconnect(self, run: Run) -> None:
        try:
            await self._runs.cancel(SYSTEM, run.thread_id, run.run_id)
        except ApiError:
            return

    async def _is_over(self, run_id: str) -> bool:
        """
        Raises:
            Unavailable: the run is not over, and cannot end: the database takes nothing.
        """
        run = await self._storage.read(lambda tx: tx.runs.get(run_id))
        over = run is None or run.status not in ACTIVE
        if not over:
            try:
                await self._storage.probe()
            except StorageError as error:
                raise Unavailable(f"{error}; the run goes on when there is room again: join it then") from error
        return over

    async def _still_visible(self, thread_id: str, rule: Filter | None) -> bool:
        return rule is None or await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule)) is not None

    async def _find(self, caller: Caller, thread_id: str | None, run_id: str) -> tuple[Run | None, Outcome | None]:
        rule = None
        if thread_id is not None:
            rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})

        async def work(tx: Tx) -> tuple[Run | None, Outcome | None]:
            run = await tx.runs.get(run_id)
            outcome = None if run and run.status in ACTIVE else await tx.runs.outcome(run_id)
            if run is None and outcome is not None and not permits(rule, outcome.metadata):
                # The thread was thrown away, and its id may be another one's by now: the outcome keeps the metadata.
                outcome = None
            found = run or outcome
            if found is not None and thread_id not in (None, found.thread_id):
                found = None
            kept_alone = run is None and found is not None
            if thread_id and rule and not kept_alone and await visible_thread(tx, thread_id, rule) is None:
                raise NotFound("Thread not found")
            if found is None:
                raise RunNotFound("Run not found")
            return run, outcome

        run, outcome = await self._storage.read(work)
        if thread_id is None and self._guard.asks(caller):
            # Whose run it is, its thread tells.
            found = run or outcome
            assert found is not None
            try:
                return await self._find(caller, found.thread_id, run_id)
            except NotFound as hidden:
                raise RunNotFound("Run not found") from hidden
        return run, outcome


def _unreadable(why: str) -> bytes:
    return to_json({"__error__": {"error": UndecipherableError.__name__, "message": why}})
