"""How a run is started: checked, asked about, admitted in one transaction, and told to those whom it concerns.

Whoever makes a run (a request, a stream, a batch, a command, a cron) takes these steps:

    prepared = await starts.prepare(caller, thread_id, request)
    admitted = await storage.write(lambda tx: starts.admit(tx, prepared))
    starts.admitted(admitted)

`start` takes the last two. Who has more to do in the transaction calls `admit` in it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from threadloom.auth.authorize import Guard
from threadloom.auth.run_users import RunUsers
from threadloom.broker.base import Broker
from threadloom.clock import SECOND, Clock
from threadloom.engine.admission import Admitted, Starter, admit
from threadloom.engine.events import EventIds, closing
from threadloom.errors import Denied, NotFound
from threadloom.graphs.priority import PriorityFunction
from threadloom.ids import new_id
from threadloom.large import is_heavy
from threadloom.services.limits import Limits
from threadloom.services.open_questions import note_given
from threadloom.services.priorities import Priorities
from threadloom.services.requests import RunCreate
from threadloom.services.run_grant import AssistantResolver, Grant, RunAuthorizer, made_thread
from threadloom.services.run_request import NO_THREAD, check_context, check_stateless, checkpoint_of, new_run, tie
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import permits
from threadloom.types import CHANNELS, Assistant, Caller, Event, Run, Thread, Ttl


class UrlCheck(Protocol):
    """Decides where webhooks may go."""

    async def check(self, url: str) -> None:
        """Raises `Invalid` for a URL that the policy refuses."""
        ...


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was checked and granted, and can be admitted.

    Attributes:
        thread_id: the thread that was asked for; None: the run gets one of its own.
        own_thread: the id of that thread.
        grant: what handlers granted; None when they are not asked about this caller.
        priority: what a thread without one gets; None: nobody was asked.
        channels: whether it is a v2 run, which tells what happens on the channels of the v2 event stream.
        cron_id: the cron that fires. The run is configured with it; the context that its graph is given is not.
    """

    caller: Caller
    thread_id: str | None
    own_thread: str
    request: RunCreate
    grant: Grant | None
    priority: int | None
    channels: bool = False
    cron_id: str | None = None

    @property
    def target(self) -> str:
        """The id of the thread that the run is going to be on."""
        return self.thread_id or self.own_thread


class RunStartService:
    """Starts runs.

    Args:
        guard: what callers may do.
        users: for whom the runs of this process are.
        webhooks: the policy that webhook URLs must pass.
        starter: the worker of this process.
        limits: how many runs a user may have.
        keep: seconds that events of a run are kept after its end.
        assign: the user's priority function, if there is one.
        new_ttl: gives the time to live of a thread that a run makes, from the moment it is made.
        asks_for_threads: see `RunAuthorizer`.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        guard: Guard,
        users: RunUsers,
        broker: Broker,
        clock: Clock,
        numbers: EventIds,
        assistants: AssistantResolver,
        webhooks: UrlCheck,
        starter: Starter,
        limits: Limits,
        keep: float,
        assign: PriorityFunction | None = None,
        new_ttl: Callable[[int], Ttl | None] = lambda now: None,
        asks_for_threads: bool = True,
    ) -> None:
        self._storage = storage
        self._users = users
        self._broker = broker
        self._clock = clock
        self._numbers = numbers
        self._assistants = assistants
        self._webhooks = webhooks
        self._starter = starter
        self._limits = limits
        self._keep = int(keep * SECOND)
        self._new_ttl = new_ttl
        self._run_authorizer = RunAuthorizer(
            storage=storage, guard=guard, assistants=assistants, clock=clock, asks_for_threads=asks_for_threads
        )
        self._priorities = Priorities(storage=storage, assistants=assistants, assign=assign)

    # --- before the transaction ---

    async def prepare(
        self,
        caller: Caller,
        thread_id: str | None,
        request: RunCreate,
        *,
        watched: bool = False,
        cron_id: str | None = None,
    ) -> Prepared:
        """Checks a request for a run on a thread, or on a thread of its own (`thread_id` None), and asks whether it may be made.

        Args:
            watched: whether the caller is going to read what the run tells.
            cron_id: the cron that fires.

        Raises:
            As `check` and `ask`.
        """
        await self.check(thread_id, request)
        return await self.ask(caller, thread_id, request, watched=watched, cron_id=cron_id)

    async def prepare_batch(self, caller: Caller, requests: Sequence[RunCreate]) -> list[Prepared]:
        """Prepares stateless runs. Nobody is asked about any before all were checked. Raises as `prepare`."""
        for request in requests:
            await self.check(None, request)
        prepared = []
        for request in requests:
            await asyncio.sleep(0)  # others have their turn
            prepared.append(await self.ask(caller, None, request))
        return prepared

    async def check(self, thread_id: str | None, request: RunCreate) -> None:
        """Refuses what can be refused before anybody is asked.

        Raises:
            BadRequest: context and configurable both given, or an answer without a thread.
            Invalid: the webhook is not allowed, or `on_completion` means nothing.
        """
        check_context(request)
        if isinstance(request.webhook, str):
            await self._webhooks.check(request.webhook)
        if thread_id is None:
            check_stateless(request)

    def asks(self, caller: Caller) -> bool:
        """Whether `ask` asks anybody about this caller's runs."""
        return self._run_authorizer.needed(caller) or self._priorities.needed

    async def ask(
        self,
        caller: Caller,
        thread_id: str | None,
        request: RunCreate,
        *,
        watched: bool = False,
        channels: bool = False,
        cron_id: str | None = None,
    ) -> Prepared:
        """Asks the user's handlers and the priority function about a run that was checked. `request` may be changed until the run
        is admitted, as far as what was asked about stays.

        Raises:
            Denied: a handler refused.
            Invalid: the assistant is neither an id nor a graph.
            ApiError: the priority function failed.
        """
        own = new_id()
        grant = await self._run_authorizer.grant(caller, thread_id, request, own_thread=own, watched=watched)
        priority = await self._priorities.of(caller, thread_id, request, grant=grant, cron_id=cron_id)
        return Prepared(
            caller=caller,
            thread_id=thread_id,
            own_thread=own,
            request=request,
            grant=grant,
            priority=priority,
            channels=channels,
            cron_id=cron_id,
        )

    # --- all of it ---

    async def create(self, caller: Caller, thread_id: str | None, request: RunCreate) -> Run:
        """Makes a run on a thread, or on a thread of its own (`thread_id` None). Raises as `prepare` and `admit`."""
        return await self.start(await self.prepare(caller, thread_id, request))

    async def create_batch(self, caller: Caller, requests: Sequence[RunCreate]) -> list[Run]:
        """Makes stateless runs, all or none. Raises as `create`."""
        prepared = await self.prepare_batch(caller, requests)

        async def work(tx: Tx) -> list[Admitted]:
            return [await self.admit(tx, one) for one in prepared]

        batch = await self._storage.write(work, heavy=True)
        for admitted in batch:
            self.admitted(admitted)
        return [admitted.run for admitted in batch]

    # --- the transaction ---

    async def start(self, prepared: Prepared) -> Run:
        """Makes a prepared run. Raises as `admit`."""
        # Any number of runs may wait on the thread, and be stopped for this one.
        heavy = prepared.request.multitask_strategy in ("interrupt", "rollback") or is_heavy(prepared.request.input)
        admitted = await self._storage.write(lambda tx: self.admit(tx, prepared), heavy=heavy)
        self.admitted(admitted)
        return admitted.run

    async def admit(self, tx: Tx, prepared: Prepared) -> Admitted:
        """Makes a prepared run within a transaction; call `admitted` once it is committed.

        Raises:
            NotFound: thread, assistant or checkpoint unknown, or not for this caller.
            Conflict: the thread is busy and the strategy is `reject`.
            TooMany: the caller has as many active runs as may be.
            Denied: the caller needs a grant and has none.
        """
        caller, grant = prepared.caller, prepared.grant
        if grant is None and self._run_authorizer.needed(caller):
            raise Denied(403, "Forbidden")
        assistant = await self._assistants.resolve(tx, prepared.request.assistant_id)
        if grant is not None and not permits(grant.assistant, assistant.metadata):
            raise NotFound(NO_THREAD)
        request = prepared.request if grant is None else grant.applied_to(prepared.request)
        await self._limits.admit_run(tx, caller, prepared.thread_id or "", request.multitask_strategy)
        thread = await self._thread(tx, prepared, request, assistant)
        namespace, checkpoint_id = checkpoint_of(request)
        if checkpoint_id and await tx.lineage.get(thread.thread_id, namespace, checkpoint_id) is None:
            raise NotFound(f"Checkpoint {checkpoint_id} not found")
        run = self._run(prepared, request, assistant, thread)
        await _settle_priority(tx, run, thread, prepared.priority)
        # Before the commit, for a worker may have the run at once after it.
        self._users.remember(run, caller.user)
        if not run.temporary:
            await tie(tx, thread, request, assistant)
        await note_given(tx, run, checkpoint_id)
        return await admit(tx, run, self._starter, keep=self._keep)

    async def _thread(self, tx: Tx, prepared: Prepared, request: RunCreate, assistant: Assistant) -> Thread:
        """The thread that a run is to be on, made if it has to be.

        Raises:
            NotFound: it is not there and is not to be made, or the caller may not run anything on it.
        """
        grant = prepared.grant
        thread = None
        if prepared.thread_id is not None:
            thread = await tx.threads.get(prepared.thread_id, with_state=False)
            if thread is None and request.if_not_exists != "create":
                raise NotFound(NO_THREAD)
        if thread is None:
            thread = self._new_thread(prepared, request, assistant)
            await tx.threads.insert(thread, fresh=prepared.thread_id is None)
        elif grant is not None and not permits(grant.thread, thread.metadata):
            raise NotFound(NO_THREAD)
        if grant is not None and not permits(grant.reading, thread.metadata):
            raise NotFound(NO_THREAD)
        return thread

    def _new_thread(self, prepared: Prepared, request: RunCreate, assistant: Assistant) -> Thread:
        now = self._clock.now()
        temporary = _is_temporary(prepared, request)
        return made_thread(
            prepared.grant,
            prepared.target,
            request,
            assistant,
            now,
            prepared.priority,
            None if temporary else self._new_ttl(now),
            temporary=temporary,
        )

    def _run(self, prepared: Prepared, request: RunCreate, assistant: Assistant, thread: Thread) -> Run:
        """The run, as its request, its grant and its cron say."""
        grant = prepared.grant
        run = new_run(
            request,
            caller=prepared.caller,
            assistant=assistant,
            thread=thread,
            clock=self._clock,
            temporary=_is_temporary(prepared, request),
            run_id=grant.run_id if grant is not None else None,
        )
        if grant is not None:
            grant.change(run)
        if prepared.channels:
            run.kwargs["event_streaming"] = True
        if prepared.cron_id is not None:
            run.kwargs["config"]["configurable"]["cron_id"] = prepared.cron_id
        return run

    # --- after the commit ---

    def admitted(self, admitted: Admitted) -> None:
        """What follows a committed admission: others are told to stop, workers are woken."""
        for run_id in admitted.cancel:
            self._broker.cancel(run_id)
        for run in admitted.ended:
            publish_never_started(self._broker, self._numbers, run)
        if admitted.claimed is not None:
            self._starter.start_run(admitted.claimed)
        else:
            self._broker.wake()


def publish_never_started(broker: Broker, numbers: EventIds, run: Run) -> None:
    """Tells the readers of a run that was stopped in the queue that it is over."""
    broker.publish([closing(run.thread_id, run.run_id, "interrupted", numbers)])
    if run.kwargs.get("event_streaming"):  # an event without a number makes them look at what is stored
        broker.publish([Event(thread_id=run.thread_id, run_id=run.run_id, name="", data=b"", mode=CHANNELS)])


async def _settle_priority(tx: Tx, run: Run, thread: Thread, priority: int | None) -> None:
    """Gives a run the priority of its thread, which the first run that has one decides."""
    if priority is None:
        return
    if thread.priority is None:
        await tx.threads.set_priority(thread.thread_id, priority)
    run.priority = priority if thread.priority is None else thread.priority


def _is_temporary(prepared: Prepared, request: RunCreate) -> bool:
    """Whether the run's thread is discarded at its end."""
    return prepared.thread_id is None and request.on_completion == "delete"
