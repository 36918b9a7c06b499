"""Watching runs: streams, waiting, joining.

See docs/contract/runs.md#event-streams, docs/contract/runs.md#wait-and-join.
"""

from collections.abc import Awaitable, Sequence, Set

from threadloom.auth.authorize import Guard
from threadloom.broker.base import Broker, Follower
from threadloom.codec import to_json
from threadloom.encryption.cipher import UndecipherableError
from threadloom.engine.events import EventIds
from threadloom.errors import ApiError, NotFound
from threadloom.services.event_replay import NEVER, LogCursor, RunReader, ThreadReader, from_now
from threadloom.services.limits import Limits
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
    place_after,
)
from threadloom.services.tags import with_checkpoint
from threadloom.services.waiting import is_over, wait_for_end
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import permits
from threadloom.types import ACTIVE, CHECKPOINT_MARK, SYSTEM, Caller, Outcome, Run


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
        reader = self._reader(run, wanted, follower=follower, cursor=LogCursor(seq=NEVER), over=False)
        if request.on_disconnect == "cancel":
            reader.on_disconnect = lambda: self._on_disconnect(run)
        return run, OpenStream(reader.batches(), slot, follower, ids=request.stream_resumable)

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
            told = run or outcome
            assert told is not None
            place = await with_checkpoint(self._storage, told.thread_id, {"checkpoint_id": checkpoint_id})
            after = await self._after_checkpoint(run_id, place["checkpoint_id"])
        slot = self._limits.open_stream(caller)
        cursor = LogCursor() if after is None else LogCursor(after=after, seq=NEVER)
        if run is None or run.status not in ACTIVE:
            end = run or outcome
            assert end is not None
            reader = self._reader(end, wanted, cursor=cursor, behind=after is not None, over=True)
            return OpenStream(reader.batches(), slot, None, ids=resumable)
        replayed = resumable and after is not None and after != NOWHERE
        if not replayed:
            cursor = await from_now(self._storage, run) if resumable else LogCursor()
        follower = await self._broker.follow(run.thread_id)
        reader = self._reader(run, wanted, follower=follower, cursor=cursor, behind=replayed)
        if cancel_on_disconnect:
            reader.on_disconnect = lambda: self._on_disconnect(run)
        return OpenStream(reader.batches(), slot, follower, ids=resumable)

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
        after = place_after(last_event_id)
        reader = ThreadReader(
            storage=self._storage,
            thread_id=thread_id,
            follower=follower,
            rule=rule,
            behind=after is not None,
            modes=modes,
            cursor=LogCursor(after=after or FROM_THE_START),
            numbers=self._numbers,
        )
        return OpenStream(reader.batches(), slot, follower, ids=True)

    # --- how they are watched ---

    def _reader(
        self,
        run: Run | Outcome,
        wanted: Selection,
        *,
        cursor: LogCursor,
        follower: Follower | None = None,
        behind: bool = False,
        over: bool | None = None,
    ) -> RunReader:
        stored = isinstance(run, Run) and run.kwargs.get("resumable") and not run.kwargs.get("event_streaming")
        return RunReader(
            storage=self._storage,
            thread_id=run.thread_id,
            run_id=run.run_id,
            follower=follower,
            complete=bool(stored),
            wanted=wanted,
            cursor=cursor,
            behind=behind,
            end=run if over else None,
            over=over,
        )

    async def _after_checkpoint(self, run_id: str, checkpoint_id: str) -> tuple[int, int]:
        """The place of a run's events after a checkpoint; their start when it is none of the run's."""
        after = FROM_THE_START
        while page := await self._storage.read(lambda tx: tx.events.of_run(run_id, after=after)):  # noqa: B023
            for event in page:
                if event.mode == CHECKPOINT_MARK and event.name == checkpoint_id:
                    return event.ms, event.n
            after = (page[-1].ms, page[-1].n)
        return FROM_THE_START

    def _selection(self, modes: Set[str] | None, namespaces: Sequence[str]) -> Selection:
        return Selection(modes=modes, namespaces=namespaces_of(namespaces), end_event=self._end_event)

    async def _output(self, run: Run, follower: Follower, *, cancel: bool, fresh: bool = False) -> bytes:
        ended = False
        try:
            ended = not fresh and await is_over(self._storage, run.run_id)
            while not ended:
                ended = await wait_for_end(follower, run.run_id) or await is_over(self._storage, run.run_id)
        finally:
            follower.close()
            if cancel and not ended:
                await self._on_disconnect(run)
        output = self._outputs.recent(run.run_id)
        return await self._output_of(run.run_id) if output is None else output

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

    async def _on_disconnect(self, run: Run) -> None:
        try:
            await self._runs.cancel(SYSTEM, run.thread_id, run.run_id)
        except ApiError:
            return

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
