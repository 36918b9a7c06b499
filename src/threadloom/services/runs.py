"""Runs: made, listed, stopped, deleted. Watching them is `run_streams`."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from threadloom.auth.authorize import Guard
from threadloom.auth.known import RunUsers
from threadloom.broker.base import Broker
from threadloom.clock import SECOND, Clock
from threadloom.engine.admission import Admitted, Starter, admit, end_pending
from threadloom.engine.events import Numbers, closing
from threadloom.engine.known import read_state
from threadloom.engine.settle import throw_away
from threadloom.errors import Conflict, Denied, NotFound
from threadloom.graphs.priority import Assign
from threadloom.graphs.registry import Graphs
from threadloom.large import is_heavy
from threadloom.services.given import note_given
from threadloom.services.limits import Limits
from threadloom.services.permission import any_known_run, both, known_run, known_thread, thread_seen
from threadloom.services.priorities import Priorities
from threadloom.services.requests import RunCreate
from threadloom.services.run_grant import Assistants, Grant, Granting, made_thread
from threadloom.services.run_request import NO_THREAD, check_context, check_stateless, checkpoint_of, new_run, tie
from threadloom.services.thread_status import show_state, status_now, tell_stopped
from threadloom.services.waiting import end_heard
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.storage.tasks import Task, TaskQuery
from threadloom.types import ACTIVE, CHANNELS, SYSTEM, Caller, CancelAction, Event, Run, RunStatus, Ttl

NOTHING_TO_CANCEL = "No runs found to cancel."
NOTHING_MATCHES = (
    "No matching runs to cancel. Please verify the thread ID and run IDs are correct, and the runs haven't been deleted "
    "or completed."
)

THREADS_AT_ONCE = 64
"""Threads whose runs are stopped in one transaction, which keeps others from all of them until it ends."""


RUNS_AT_ONCE = 100
"""Runs of a thread that is about to go that are read at once."""


class UrlCheck(Protocol):
    """Decides where webhooks may go."""

    async def check(self, url: str) -> None:
        """Raises `Invalid` for a URL that the policy refuses."""
        ...


class RunService:
    """What can be done to runs.

    Args:
        guard: what callers may do.
        users: for whom the runs of this process are.
        webhooks: the policy that webhook URLs must pass.
        starter: the worker of this process.
        limits: how many runs a user may have.
        keep: seconds that what came of a stateless run is kept when it was stopped before it began.
        assign: the user's priority function, if there is one.
        new_ttl: gives the time to live of a thread that a run makes, from the moment it is made.
        asks_for_threads: see `Granting`.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        guard: Guard,
        users: RunUsers,
        broker: Broker,
        clock: Clock,
        numbers: Numbers,
        graphs: Graphs,
        assistants: Assistants,
        webhooks: UrlCheck,
        starter: Starter,
        limits: Limits,
        keep: float,
        assign: Assign | None = None,
        new_ttl: Callable[[int], Ttl | None] = lambda now: None,
        asks_for_threads: bool = True,
    ) -> None:
        self._new_ttl = new_ttl
        self._limits = limits
        self._keep = int(keep * SECOND)
        self._guard = guard
        self._users = users
        self.granting = Granting(
            storage=storage, guard=guard, assistants=assistants, clock=clock, asks_for_threads=asks_for_threads
        )
        self.priorities = Priorities(storage=storage, assistants=assistants, assign=assign)
        self._starter = starter
        self._storage = storage
        self._broker = broker
        self._clock = clock
        self._numbers = numbers
        self._graphs = graphs
        self._assistants = assistants
        self._webhooks = webhooks

    # --- making ---

    async def create(self, caller: Caller, thread_id: str | None, request: RunCreate) -> Run:
        """Makes a run on a thread, or on a thread of its own (`thread_id` None).

        Raises:
            NotFound: thread, assistant or checkpoint unknown.
            Conflict: the thread is busy and the strategy is `reject`.
            BadRequest: context and configurable both given, or an answer without a thread.
            Invalid: the webhook is not allowed, or the assistant is neither an id nor a graph.
            TooMany: the caller has as many active runs as may be.
        """
        await self.check(request)
        if thread_id is None:
            check_stateless(request)
        grant = await self.granting.grant(caller, thread_id, request)
        priority = await self.priorities.of(caller, thread_id, request, grant=grant)
        admitted = await self._storage.write(
            lambda tx: self.admit(tx, caller, thread_id, request, grant=grant, priority=priority),
            heavy=is_heavy(request.input),
        )
        self.admitted(admitted)
        return admitted.run

    async def create_batch(self, caller: Caller, requests: Sequence[RunCreate]) -> list[Run]:
        """Makes stateless runs, all or none. Raises as `create`."""
        for request in requests:
            await self.check(request)
            check_stateless(request)
        asked = []
        for request in requests:
            await asyncio.sleep(0)  # others have their turn
            grant = await self.granting.grant(caller, None, request)
            asked.append((request, grant, await self.priorities.of(caller, None, request, grant=grant)))

        async def work(tx: Tx) -> list[Admitted]:
            return [
                await self.admit(tx, caller, None, request, grant=grant, priority=priority)
                for request, grant, priority in asked
            ]

        batch = await self._storage.write(work, heavy=True)
        for admitted in batch:
            self.admitted(admitted)
        return [admitted.run for admitted in batch]

    async def admit(
        self,
        tx: Tx,
        caller: Caller,
        thread_id: str | None,
        request: RunCreate,
        *,
        grant: Grant | None,
        priority: int | None,
        own_thread: str | None = None,
        channels: bool = False,
        cron_id: str | None = None,
    ) -> Admitted:
        """Makes a run within a transaction; call `admitted` once it is committed. Raises as `create`.

        Args:
            grant: what handlers granted (`granting`); None when they are not asked about this caller.
            priority: what a thread without one gets (`priorities`); None: nobody was asked.
            own_thread: the id that the thread of a stateless run gets.
            channels: whether it is a v2 run, which tells what happens on the channels of the v2 event stream.
            cron_id: the cron that fires. Its run is configured with it, the context that its graph is given is not.
        """
        if grant is None and self.granting.needed(caller):
            raise Denied(403, "Forbidden")
        assistant = await self._assistants.resolve(tx, request.assistant_id)
        if grant is not None:
            if not permits(grant.assistant, assistant.metadata):
                raise NotFound(NO_THREAD)
            request = grant.asked(request)
        temporary, thread, now = False, None, self._clock.now()
        await self._limits.admit_run(tx, caller, thread_id or "", request.multitask_strategy)
        if thread_id is None:
            temporary = request.on_completion == "delete"
            ttl = None if temporary else self._new_ttl(now)
            thread = made_thread(grant, own_thread, request, assistant, now, priority, ttl, temporary=temporary)
            await tx.threads.insert(thread, fresh=True)
        else:
            thread = await tx.threads.get(thread_id, with_state=False)
            if thread is None:
                if request.if_not_exists != "create":
                    raise NotFound(NO_THREAD)
                ttl = self._new_ttl(now)
                thread = made_thread(grant, thread_id, request, assistant, now, priority, ttl)
                await tx.threads.insert(thread)
            elif grant is not None and not permits(grant.thread, thread.metadata):
                raise NotFound(NO_THREAD)
        if grant is not None and not permits(grant.reading, thread.metadata):
            raise NotFound(NO_THREAD)
        ns, checkpoint_id = checkpoint_of(request)
        if checkpoint_id and await tx.lineage.get(thread.thread_id, ns, checkpoint_id) is None:
            raise NotFound(f"Checkpoint {checkpoint_id} not found")
        run = new_run(
            request,
            caller=caller,
            assistant=assistant,
            thread=thread,
            clock=self._clock,
            temporary=temporary,
            run_id=grant.run_id if grant is not None else None,
        )
        if grant is not None:
            grant.change(run)
        if priority is not None:
            if thread.priority is None:
                await tx.threads.set_priority(thread.thread_id, priority)
            run.priority = priority if thread.priority is None else thread.priority
        # Before the commit, for a worker may have the run at once after it.
        self._users.remember(run, caller.user)
        if channels:
            run.kwargs["event_streaming"] = True
        if cron_id is not None:
            run.kwargs["config"]["configurable"]["cron_id"] = cron_id
        if not temporary:
            await tie(tx, thread, request, assistant)
        await note_given(tx, run, checkpoint_id)
        return await admit(tx, run, self._starter)

    def admitted(self, admitted: Admitted) -> None:
        """What follows a committed admission: others are told to stop, workers are woken."""
        for run_id in admitted.cancel:
            self._broker.cancel(run_id)
        for run in admitted.ended:
            self._end_stream(run)
        if admitted.claimed is not None:
            self._starter.begin(admitted.claimed)
        else:
            self._broker.wake()

    async def check(self, request: RunCreate) -> None:
        """What can be refused before the database is asked. Raises as `create`."""
        check_context(request)
        if isinstance(request.webhook, str):
            await self._webhooks.check(request.webhook)

    # --- looking ---

    async def get(self, caller: Caller, thread_id: str, run_id: str) -> Run:
        """Raises NotFound for an unknown thread or run, and for a run of another thread."""
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})

        async def work(tx: Tx) -> Run:
            run = await tx.runs.get(run_id)
            unknown = run is None or run.thread_id != thread_id
            if unknown or rule is not None:
                await known_thread(tx, thread_id, rule)
            if run is None or unknown:
                raise NotFound("Not Found")
            return run

        return await self._storage.read(work)

    async def list(
        self, caller: Caller, thread_id: str, *, limit: int, offset: int, status: RunStatus | None
    ) -> list[Run]:
        """The runs of a thread, newest first. Raises NotFound for an unknown thread."""
        rule = both(
            await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id}),
            await self._guard.ask(caller, "threads", "search", {"thread_id": thread_id, "metadata": {}}),
        )

        async def work(tx: Tx) -> "list[Run]":
            await known_thread(tx, thread_id, rule)
            return await tx.runs.of_thread(thread_id, status=status, limit=limit, offset=offset)

        return await self._storage.read(work)

    async def tasks(self, caller: Caller, query: TaskQuery) -> tuple[Sequence[Task], int]:
        """A page of an assistant's tasks on threads that the caller may find, and how many there are in all."""
        value: dict[str, Any] = {
            "metadata": {},
            "values": {},
            "status": None,
            "thread_id": query.thread_id,
            "limit": query.limit,
            "offset": query.offset,
        }
        query.where = await self._guard.ask(caller, "threads", "search", value)

        async def work(tx: Tx) -> tuple[Sequence[Task], int]:
            return await tx.tasks.search(query), await tx.tasks.count(query)

        return await self._storage.read(work, heavy=True)

    # --- stopping ---

    async def cancel(
        self, caller: Caller, thread_id: str, run_id: str, *, action: CancelAction = "interrupt", wait: bool = False
    ) -> None:
        """Stops a run; with `wait`, returns when it has ended.

        Raises:
            NotFound: no such run on the thread, or it has already ended.
        """
        rule = await self._may_stop(caller, thread_id, action, run_ids=[run_id], status=None)
        follower = await self._broker.follow(thread_id, events=False)
        try:

            async def work(tx: Tx) -> tuple[Run, bool]:
                run = await tx.runs.get(run_id)
                if run is None or run.thread_id != thread_id:
                    raise NotFound(NOTHING_TO_CANCEL)
                if rule is not None and await thread_seen(tx, thread_id, rule) is None:
                    raise NotFound(NOTHING_TO_CANCEL)
                if run.status not in ACTIVE:
                    raise NotFound(NOTHING_MATCHES)
                return run, await self._stop(tx, run, action)

            run, running = await self._storage.write(work)
            if not running:
                self._end_stream(run)
                self._broker.wake()
                await self._rest(run)
                return
            self._broker.cancel(run_id)
            while wait and not await end_heard(follower, run_id):
                still = await self._storage.read(lambda tx: tx.runs.get(run_id))
                wait = still is not None and still.status in ACTIVE
        finally:
            follower.close()

    async def cancel_many(
        self,
        caller: Caller,
        *,
        status: Literal["pending", "running", "all"] | None,
        thread_id: str | None,
        run_ids: Sequence[str] | None,
        action: CancelAction = "interrupt",
    ) -> None:
        """Stops all runs of a status, or the named ones of a thread.

        Raises:
            NotFound: there was none to stop.
        """
        rule = await self._may_stop(caller, thread_id, action, run_ids=run_ids, status=status)

        async def stop(tx: Tx, thread_id: str) -> list[tuple[Run, bool]]:
            if rule is not None and await thread_seen(tx, thread_id, rule) is None:
                return []
            return [
                (run, await self._stop(tx, run, action))
                for run in await tx.runs.active(thread_id)
                if (run.run_id in run_ids if run_ids is not None else status in (run.status, "all"))
            ]

        async def work(tx: Tx) -> list[tuple[Run, bool]]:
            return [stopped for one in portion for stopped in await stop(tx, one)]

        threads = [thread_id] if thread_id is not None else await self._storage.read(lambda tx: tx.runs.busy_threads())
        found, ended = False, dict[str, Run]()
        for start in range(0, len(threads), THREADS_AT_ONCE):
            portion = threads[start : start + THREADS_AT_ONCE]
            for run, running in await self._storage.write(work, heavy=True):
                found = True
                if running:
                    self._broker.cancel(run.run_id)
                else:
                    ended[run.thread_id] = run
                    self._end_stream(run)
        if not found:
            known = await self._storage.read(lambda tx: any_known_run(tx, thread_id, run_ids or (), rule))
            raise NotFound(NOTHING_MATCHES if known else NOTHING_TO_CANCEL)
        self._broker.wake()
        for run in ended.values():
            await self._rest(run)

    async def abandon(self, caller: Caller, thread_id: str, run_id: str) -> None:
        """Says of a run that ended with a question that it was interrupted: nobody is going to answer.

        Raises:
            NotFound: no such run on the thread, or it has ended otherwise.
        """
        rule = await self._may_stop(caller, thread_id, "interrupt", run_ids=[run_id], status=None)

        async def work(tx: Tx) -> None:
            if await thread_seen(tx, thread_id, rule) is None:
                raise NotFound(NOTHING_TO_CANCEL)
            run = await tx.runs.get(run_id)
            if run is None or run.thread_id != thread_id or run.status != "success":
                raise NotFound(NOTHING_MATCHES)
            await tx.runs.set_status(run_id, "interrupted", updated_at=self._clock.now())

        await self._storage.write(work)

    async def delete(self, caller: Caller, thread_id: str, run_id: str) -> None:
        """Removes a run and its checkpoints; one that is active is rolled back first.

        Raises:
            NotFound: thread or run unknown.
        """
        rule = await self._guard.ask(caller, "threads", "delete", {"run_id": run_id, "thread_id": thread_id})
        run = await self._storage.read(lambda tx: known_run(tx, thread_id, run_id, rule))
        if run.status in ACTIVE:
            await self.cancel(SYSTEM, thread_id, run_id, action="rollback", wait=True)
            return

        async def work(tx: Tx) -> None:
            if await tx.runs.has_active(thread_id):
                raise Conflict(f"Thread {thread_id} is busy; run {run_id} can be deleted when its runs have ended")
            await tx.lineage.delete_run(thread_id, run_id)
            await tx.runs.delete(run_id)
            await tx.runs.drop_outcome(run_id)
            await tx.events.drop_of_run(run_id)
            await tx.deliveries.delete_of_run(run_id, self._clock.now())

        await self._storage.write(work, heavy=True)
        snapshot = await read_state(run, self._graphs, self._users)
        now = self._clock.now()

        async def follow(tx: Tx) -> None:
            thread = await tx.threads.get(thread_id, with_state=False)
            if thread is None or await tx.runs.has_active(thread_id):
                return
            later = [other for other in await tx.runs.of_thread(thread_id, limit=1) if other.order > run.order]
            status = await show_state(tx, thread_id, snapshot, error=thread.error if later else None)
            await tx.threads.update(thread_id, status=status, state_updated_at=now, updated_at=now)

        await self._storage.write(follow)

    async def stop_thread(self, thread_id: str) -> None:
        """Stops whatever runs on a thread that is about to go; returns when nothing does."""
        while True:
            active = await self._storage.read(lambda tx: tx.runs.active(thread_id, limit=RUNS_AT_ONCE))
            if not active:
                return
            for run in active:
                with contextlib.suppress(NotFound):
                    await self.cancel(SYSTEM, thread_id, run.run_id, action="rollback", wait=True)

    async def _stop(self, tx: Tx, run: Run, action: CancelAction) -> bool:
        """Asks a running run to stop, or ends a pending one. Gives whether it is running."""
        if run.status == "running":
            await tx.runs.request_cancel(run.run_id, action)
            return True
        now = self._clock.now()
        await end_pending(tx, run, now, keep=action == "interrupt")
        if run.temporary:
            await throw_away(tx, run.thread_id, now + self._keep)
        elif not await tx.runs.has_active(run.thread_id):
            await tx.threads.update(run.thread_id, status=await status_now(tx, run.thread_id), updated_at=now)
        return False

    async def _rest(self, run: Run) -> None:
        """What follows for a thread whose pending run was ended."""
        await tell_stopped(self._storage, run.thread_id, lambda: read_state(run, self._graphs, self._users))

    # --- shared ---

    async def _may_stop(
        self,
        caller: Caller,
        thread_id: str | None,
        action: CancelAction,
        *,
        run_ids: Sequence[str] | None,
        status: str | None,
    ) -> Filter | None:
        """On which threads the caller may stop runs."""
        about = {"run_ids": None if run_ids is None else list(run_ids), "status": status}
        value = {"thread_id": thread_id, "action": action, "metadata": about}
        return await self._guard.ask(caller, "threads", "update", value)

    def _end_stream(self, run: Run) -> None:
        """Tells the readers of a run that never started that it is over."""
        self._broker.publish([closing(run.thread_id, run.run_id, "interrupted", self._numbers)])
        if run.kwargs.get("event_streaming"):  # an event without a number makes them look at what is stored
            self._broker.publish([Event(thread_id=run.thread_id, run_id=run.run_id, name="", data=b"", mode=CHANNELS)])
