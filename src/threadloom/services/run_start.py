"""Starts runs: checks and authorizes the request, admits the run in one transaction, then notifies workers and readers.

Everything that creates a run (a request, a stream, a batch, a command, a cron) takes these steps:

    prepared = await starts.prepare(caller, thread_id, request)
    admitted = await storage.write(lambda tx: starts.admit(tx, prepared))
    starts.admitted(admitted)

`start` does the last two. A caller that does more in the same transaction calls `admit` in it.
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
from threadloom.services.run_request import (
    NO_THREAD,
    check_context,
    check_stateless,
    checkpoint_of,
    new_run,
    tie,
    with_ids,
)
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import permits
from threadloom.types import CHANNELS, Assistant, Caller, Event, Run, Thread, Ttl


class UrlCheck(Protocol):
    """Decides to which URLs webhooks may be sent."""

    async def check(self, url: str) -> None:
        """Raises `Invalid` for a URL that the policy refuses."""
        ...


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was checked and authorized, and can be admitted.

    Attributes:
        thread_id: the thread of the request; None: the run gets a thread of its own.
        own_thread: the id of that thread.
        grant: the grant of the run; None if the caller needs none.
        priority: the priority for a thread that has none; None: there is no priority function.
        channels: whether it is a v2 run, which writes events on the channels of the v2 event stream.
        cron_id: the cron that fires. It is in the run's config, but not in the context of the graph.
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
        """Returns the id of the run's thread."""
        return self.thread_id or self.own_thread


class RunStartService:
    """Starts runs.

    Args:
        guard: authorizes callers.
        users: the users of the runs of this process.
        webhooks: the policy that webhook URLs must pass.
        starter: the worker of this process.
        limits: limits the active runs of a user.
        keep: seconds that events of a run are kept after its end.
        assign: the user's priority function, if there is one.
        new_ttl: returns the time to live of a thread that a run creates, from the moment of its creation.
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
        """Checks and authorizes a request for a run on a thread, or on a thread of its own (`thread_id` None).

        Args:
            watched: whether the caller will read the run's events.
            cron_id: the cron that fires.

        Raises:
            As `check` and `ask`.
        """
        await self.check(thread_id, request)
        return await self.ask(caller, thread_id, request, watched=watched, cron_id=cron_id)

    async def prepare_batch(self, caller: Caller, requests: Sequence[RunCreate]) -> list[Prepared]:
        """Prepares stateless runs. All requests are checked before the first is authorized. Raises as `prepare`."""
        for request in requests:
            await self.check(None, request)
        prepared = []
        for request in requests:
            await asyncio.sleep(0)  # lets other tasks run
            prepared.append(await self.ask(caller, None, request))
        return prepared

    async def check(self, thread_id: str | None, request: RunCreate) -> None:
        """Refuses what can be refused without calling handlers.

        Raises:
            BadRequest: context and configurable both given, or an answer without a thread.
            Invalid: the webhook is not allowed, or `on_completion` is not valid.
        """
        check_context(request)
        if isinstance(request.webhook, str):
            await self._webhooks.check(request.webhook)
        if thread_id is None:
            check_stateless(request)

    def asks(self, caller: Caller) -> bool:
        """Returns whether `ask` calls handlers or the priority function for this caller's runs."""
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
        """Calls the user's handlers and the priority function for a run that was checked. `request` may be changed until the run
        is admitted, except for the parts that handlers got.

        Raises:
            Denied: a handler denied the run.
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

    # --- all steps ---

    async def create(self, caller: Caller, thread_id: str | None, request: RunCreate) -> Run:
        """Creates a run on a thread, or on a thread of its own (`thread_id` None). Raises as `prepare` and `admit`."""
        return await self.start(await self.prepare(caller, thread_id, request))

    async def create_batch(self, caller: Caller, requests: Sequence[RunCreate]) -> list[Run]:
        """Creates stateless runs, all or none. Raises as `create`."""
        prepared = await self.prepare_batch(caller, requests)

        async def work(tx: Tx) -> list[Admitted]:
            return [await self.admit(tx, one) for one in prepared]

        batch = await self._storage.write(work, heavy=True)
        for admitted in batch:
            self.admitted(admitted)
        return [admitted.run for admitted in batch]

    # --- the transaction ---

    async def start(self, prepared: Prepared) -> Run:
        """Creates a prepared run. Raises as `admit`."""
        # Heavy, because any number of runs may be pending on the thread, and are cancelled for this one.
        heavy = prepared.request.multitask_strategy in ("interrupt", "rollback") or is_heavy(prepared.request.input)
        admitted = await self._storage.write(lambda tx: self.admit(tx, prepared), heavy=heavy)
        self.admitted(admitted)
        return admitted.run

    async def admit(self, tx: Tx, prepared: Prepared) -> Admitted:
        """Creates a prepared run within a transaction. Call `admitted` after the commit.

        Raises:
            NotFound: thread, assistant or checkpoint does not exist or is not visible to this caller.
            Conflict: the thread is busy and the strategy is `reject`.
            TooMany: the caller has reached the limit of active runs.
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
        request = await with_ids(tx, thread.thread_id, request)
        namespace, checkpoint_id = checkpoint_of(request)
        if checkpoint_id and await tx.lineage.get(thread.thread_id, namespace, checkpoint_id) is None:
            raise NotFound(f"Checkpoint {checkpoint_id} not found")
        run = self._run(prepared, request, assistant, thread)
        await _settle_priority(tx, run, thread, prepared.priority)
        # Before the commit, because a worker may claim the run immediately after it.
        self._users.remember(run, caller.user)
        if not run.temporary:
            await tie(tx, thread, request, assistant)
        await note_given(tx, run, checkpoint_id)
        return await admit(tx, run, self._starter, keep=self._keep)

    async def _thread(self, tx: Tx, prepared: Prepared, request: RunCreate, assistant: Assistant) -> Thread:
        """Returns the thread of a run; creates it if necessary.

        Raises:
            NotFound: the thread does not exist and is not to be created, or the caller may not create runs on it.
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
        """Returns the run, built from its request, its grant and its cron."""
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
        """Called after the commit of `admit`. Notifies the runs that it cancels and the readers of those that it ended, and wakes
        the workers.
        """
        for run_id in admitted.cancel:
            self._broker.cancel(run_id)
        for run in admitted.ended:
            publish_never_started(self._broker, self._numbers, run)
        if admitted.claimed is not None:
            self._starter.start_run(admitted.claimed)
        else:
            self._broker.wake()


def publish_never_started(broker: Broker, numbers: EventIds, run: Run) -> None:
    """Publishes the end of a run that was cancelled while it was pending."""
    broker.publish([closing(run.thread_id, run.run_id, "interrupted", numbers)])
    if run.kwargs.get("event_streaming"):  # an event without a number makes readers read the stored events
        broker.publish([Event(thread_id=run.thread_id, run_id=run.run_id, name="", data=b"", mode=CHANNELS)])


async def _settle_priority(tx: Tx, run: Run, thread: Thread, priority: int | None) -> None:
    """Sets a run's priority to that of its thread. If the thread has none, `priority` becomes the thread's."""
    if priority is None:
        return
    if thread.priority is None:
        await tx.threads.set_priority(thread.thread_id, priority)
    run.priority = priority if thread.priority is None else thread.priority


def _is_temporary(prepared: Prepared, request: RunCreate) -> bool:
    """Returns whether the run's thread is discarded when the run ends."""
    return prepared.thread_id is None and request.on_completion == "delete"
