"""Shows the queue of runs: which run waits for what, and who executes the others.

See docs/contract/runs.md#the-queue.
"""

from collections.abc import Sequence

from threadloom.auth.authorize import Guard
from threadloom.clock import SECOND, Clock, iso
from threadloom.services.permission import visible_thread
from threadloom.services.responses import QueuedRunResponse
from threadloom.services.threads import missing
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.storage.queue import QueuedRun
from threadloom.storage.threads import ThreadQuery
from threadloom.types import Caller

MOST_THREADS = 1000
"""How many busy threads are looked at for a caller who may not read all threads: those that were updated last."""


class QueueService:
    """Lists pending and running runs.

    Args:
        attempts: how many attempts a run has at most.
    """

    def __init__(self, *, storage: Storage, guard: Guard, clock: Clock, attempts: int) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._attempts = attempts

    async def runs(self, caller: Caller, *, thread_id: str | None, limit: int) -> list[QueuedRunResponse]:
        """Returns the runs that are pending or running on threads that the caller may read, in the order in which they start.

        Args:
            thread_id: only runs of this thread.

        Raises:
            NotFound: there is no such thread.
        """
        if thread_id is not None:
            rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        else:
            value = {"metadata": {}, "values": {}, "status": "busy", "limit": MOST_THREADS, "offset": 0}
            rule = await self._guard.ask(caller, "threads", "search", value)

        async def work(tx: Tx) -> list[QueuedRun]:
            return await tx.runs.queued(await self._threads(tx, thread_id, rule), limit)

        found = await self._storage.read(work, heavy=thread_id is None)
        now = self._clock.now()
        return [self._shown(run, now) for run in found]

    async def _threads(self, tx: Tx, thread_id: str | None, rule: Filter | None) -> Sequence[str] | None:
        """Returns the threads whose runs the caller may see; None: all."""
        if thread_id is not None:
            if await visible_thread(tx, thread_id, rule) is None:
                raise missing(thread_id)
            return [thread_id]
        if rule is None:
            return None
        query = ThreadQuery(where=rule, status="busy", limit=MOST_THREADS, with_state=False)
        return [thread.thread_id for thread in await tx.threads.search(query)]

    def _shown(self, run: QueuedRun, now: int) -> QueuedRunResponse:
        return QueuedRunResponse(
            run_id=run.run_id,
            thread_id=run.thread_id,
            assistant_id=run.assistant_id,
            status=run.status,
            created_at=iso(run.created_at),
            starts_at=iso(run.due) if run.delayed else None,
            attempt=run.attempt,
            max_attempts=self._attempts,
            worker=run.worker,
            lease_seconds=None if run.lease is None else round((run.lease - now) / SECOND, 1),
            ahead=run.ahead,
            reason=_reason(run, now),
        )


def _reason(run: QueuedRun, now: int) -> str:
    """Returns what a run waits for, or who executes it."""
    if run.status == "running":
        late = 0 if run.lease is None else (now - run.lease) // SECOND
        if late > 0:
            return f"Its worker has not renewed the lease, which ended {late} s ago. Another worker will take the run over."
        return "A worker executes it."
    if run.delayed and run.due > now:
        return f"It starts in {-(-(run.due - now) // SECOND)} s."
    if run.ahead is None:
        return "Another run of its thread is before it."
    if run.ahead:
        return f"It waits for a free worker. {run.ahead} {'runs are' if run.ahead > 1 else 'run is'} before it."
    return "It waits for a free worker. It is the next run."
