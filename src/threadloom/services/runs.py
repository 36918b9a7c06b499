"""Reads, cancels and deletes runs. `run_start` creates them, `run_streams` streams their events."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from threadloom.auth.authorize import Guard
from threadloom.auth.run_users import RunUsers
from threadloom.broker.base import Broker
from threadloom.clock import SECOND, Clock
from threadloom.engine.admission import end_pending
from threadloom.engine.events import EventIds
from threadloom.engine.removal import discard_thread, remove_run
from threadloom.engine.run_config import known_state, read_state
from threadloom.engine.thread_record import show_state, show_stopped, status_now
from threadloom.errors import Conflict, NotFound
from threadloom.graphs.registry import GraphRegistry
from threadloom.services.permission import and_, any_known_run, known_run, known_thread, visible_thread
from threadloom.services.run_start import publish_never_started
from threadloom.services.waiting import wait_for_end
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.storage.tasks import Task, TaskQuery
from threadloom.types import ACTIVE, SYSTEM, Caller, CancelAction, Run, RunStatus

NOTHING_TO_CANCEL = "No runs found to cancel."
NOTHING_MATCHES = (
    "No matching runs to cancel. Please verify the thread ID and run IDs are correct, and the runs haven't been deleted "
    "or completed."
)

THREADS_AT_ONCE = 64
"""Threads whose runs are cancelled in one transaction. It locks all of them until it ends."""

RUNS_AT_ONCE = 100
"""Runs that are read in one transaction when many are cancelled."""


class RunService:
    """Operations on runs.

    Args:
        guard: authorizes callers.
        users: the users of the runs of this process.
        keep: seconds that the outcome of a stateless run is kept if the run was cancelled before it started.
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
        graphs: GraphRegistry,
        keep: float,
    ) -> None:
        self._keep = int(keep * SECOND)
        self._guard = guard
        self._users = users
        self._storage = storage
        self._broker = broker
        self._clock = clock
        self._numbers = numbers
        self._graphs = graphs

    # --- reads ---

    async def get(self, caller: Caller, thread_id: str, run_id: str) -> Run:
        """Returns a run. Raises NotFound for an unknown thread or run, and for a run of another thread."""
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
        """Returns the runs of a thread, newest first. Raises NotFound for an unknown thread."""
        rule = and_(
            await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id}),
            await self._guard.ask(caller, "threads", "search", {"thread_id": thread_id, "metadata": {}}),
        )

        async def work(tx: Tx) -> "list[Run]":
            await known_thread(tx, thread_id, rule)
            return await tx.runs.of_thread(thread_id, status=status, limit=limit, offset=offset)

        return await self._storage.read(work)

    async def tasks(self, caller: Caller, query: TaskQuery) -> tuple[Sequence[Task], int]:
        """Returns a page of an assistant's tasks on threads that are visible to the caller, and the total number."""
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

    # --- cancellation ---

    async def cancel(
        self, caller: Caller, thread_id: str, run_id: str, *, action: CancelAction = "interrupt", wait: bool = False
    ) -> None:
        """Cancels a run; with `wait`, returns when it has ended.

        Raises:
            NotFound: there is no such run on the thread, or it has already ended.
        """
        rule = await self._may_stop(caller, thread_id, action, run_ids=[run_id], status=None)
        follower = await self._broker.follow(thread_id, events=False)
        try:

            async def work(tx: Tx) -> tuple[Run, bool]:
                run = await tx.runs.get(run_id)
                if run is None or run.thread_id != thread_id:
                    raise NotFound(NOTHING_TO_CANCEL)
                if rule is not None and await visible_thread(tx, thread_id, rule) is None:
                    raise NotFound(NOTHING_TO_CANCEL)
                if run.status not in ACTIVE:
                    raise NotFound(NOTHING_MATCHES)
                return run, await self._stop(tx, run, action)

            run, running = await self._storage.write(work)
            if not running:
                publish_never_started(self._broker, self._numbers, run)
                self._broker.wake()
                await self._rest(run)
                return
            self._broker.cancel(run_id)
            while wait and not await wait_for_end(follower, run_id):
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
        """Cancels all runs of a status, or the named ones of a thread.

        Raises:
            NotFound: there was no run to cancel.
        """
        rule = await self._may_stop(caller, thread_id, action, run_ids=run_ids, status=status)

        threads = [thread_id] if thread_id is not None else await self._storage.read(lambda tx: tx.runs.busy_threads())
        found, ended = False, dict[str, Run]()
        async for run, running in self._stop_all(threads, rule, status, run_ids, action):
            found = True
            if running:
                self._broker.cancel(run.run_id)
            else:
                if run.thread_id not in ended or run.started_at is not None:
                    ended[run.thread_id] = run
                publish_never_started(self._broker, self._numbers, run)
        if not found:
            known = await self._storage.read(lambda tx: any_known_run(tx, thread_id, run_ids or (), rule))
            raise NotFound(NOTHING_MATCHES if known else NOTHING_TO_CANCEL)
        self._broker.wake()
        for run in ended.values():
            await self._rest(run)

    async def _stop_all(
        self,
        threads: Sequence[str],
        rule: Filter | None,
        status: Literal["pending", "running", "all"] | None,
        run_ids: Sequence[str] | None,
        action: CancelAction,
    ) -> AsyncIterator[tuple[Run, bool]]:
        """Cancels runs of some threads: the named ones, or those of a status. Each transaction reads a limited number of runs, so
        that others do not wait long. Yields each cancelled run, and whether it is running.
        """
        rest = list(reversed(threads))
        after = 0

        async def work(tx: Tx) -> tuple[list[tuple[Run, bool]], int, int]:
            stopped, looked, done, last = list[tuple[Run, bool]](), 0, 0, after
            for thread_id in reversed(rest):
                if rule is None or await visible_thread(tx, thread_id, rule) is not None:
                    page = await tx.runs.active(thread_id, after=last, limit=RUNS_AT_ONCE - looked)
                    for run in page:
                        if run.run_id in run_ids if run_ids is not None else status in (run.status, "all"):
                            stopped.append((run, await self._stop(tx, run, action)))
                    looked += len(page)
                    if looked == RUNS_AT_ONCE:
                        return stopped, done, page[-1].order
                done, last = done + 1, 0
                if done == THREADS_AT_ONCE:
                    break
            return stopped, done, 0

        while rest:
            stopped, done, after = await self._storage.write(work, heavy=True)
            del rest[len(rest) - done :]
            for one in stopped:
                yield one

    async def abandon(self, caller: Caller, thread_id: str, run_id: str) -> None:
        """Sets the status of a run that ended with a question to interrupted: the question will not be answered.

        Raises:
            NotFound: there is no such run on the thread, or it has ended otherwise.
        """
        rule = await self._may_stop(caller, thread_id, "interrupt", run_ids=[run_id], status=None)

        async def work(tx: Tx) -> None:
            if await visible_thread(tx, thread_id, rule) is None:
                raise NotFound(NOTHING_TO_CANCEL)
            run = await tx.runs.get(run_id)
            if run is None or run.thread_id != thread_id or run.status != "success":
                raise NotFound(NOTHING_MATCHES)
            await tx.runs.set_status(run_id, "interrupted", updated_at=self._clock.now())

        await self._storage.write(work)

    async def delete(self, caller: Caller, thread_id: str, run_id: str) -> None:
        """Deletes a run and its checkpoints. An active run is rolled back first.

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
            await remove_run(tx, run_id, now=self._clock.now())

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
        """Cancels all runs of a thread that is about to be deleted. Returns when none is active."""
        while True:
            active = await self._storage.read(lambda tx: tx.runs.active(thread_id, limit=RUNS_AT_ONCE))
            if not active:
                return
            for run in active:
                with contextlib.suppress(NotFound):
                    await self.cancel(SYSTEM, thread_id, run.run_id, action="rollback", wait=True)

    async def _stop(self, tx: Tx, run: Run, action: CancelAction) -> bool:
        """Requests the cancellation of a running run, or ends a pending one. Returns whether it is running."""
        if run.status == "running":
            await tx.runs.request_cancel(run.run_id, action)
            return True
        now = self._clock.now()
        await end_pending(tx, run, now, keep=action == "interrupt", events_until=now + self._keep)
        if run.temporary:
            await discard_thread(tx, run, until=now + self._keep)
        elif not await tx.runs.has_active(run.thread_id):
            await tx.threads.update(run.thread_id, status=await status_now(tx, run.thread_id), updated_at=now)
        return False

    async def _rest(self, run: Run) -> None:
        """Updates the thread of a pending run that was ended."""
        await show_stopped(self._storage, run, lambda: known_state(run, self._graphs, self._users))

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
        """Returns the filter for the threads on which the caller may cancel runs."""
        about = {"run_ids": None if run_ids is None else list(run_ids), "status": status}
        value = {"thread_id": thread_id, "action": action, "metadata": about}
        return await self._guard.ask(caller, "threads", "update", value)
