"""Runs in a storage."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from threadloom.storage.queue import Claim, Lease, QueuedRun, QueuePeek, QueueStats, Renewal, RunState
from threadloom.types import CancelAction, Outcome, Run, RunStatus


class Runs(Protocol):
    """Runs, their queue, and their outcomes."""

    async def insert(self, run: Run, claim: Claim | None = None) -> Run:
        """Stores a new run and returns it with its `order`, which grows with each run.

        Args:
            claim: a worker that claims the run in the same transaction. The caller must not pass one if another run of the thread
                is pending or running. The run returned is what `take` would return.
        """
        ...

    async def get(self, run_id: str) -> Run | None:
        """Returns a run, or None. In a writing transaction the run's thread is locked, and the run is as it is under
        that lock.
        """
        ...

    async def of_thread(
        self, thread_id: str, *, status: RunStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        """Returns the runs of a thread, the newest first.

        Args:
            status: only runs of this status.
            limit: at most so many; None for all.
        """
        ...

    async def active(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[Run]:
        """Returns the pending and running runs of a thread, the oldest first.

        Args:
            after: only runs whose `order` is greater.
            limit: at most so many; None for all.
        """
        ...

    async def has_active(self, thread_id: str) -> bool:
        """Returns whether any run of the thread is pending or running."""
        ...

    async def busy_threads(self) -> list[str]:
        """Returns the ids of all threads with a pending or running run, each once. Takes no lock."""
        ...

    async def count_active_of_user(self, user_id: str, *, besides: str | None = None) -> int:
        """Returns how many runs of a user are pending or running, without those of the thread `besides`. In a writing
        transaction, others that count the same user wait until it ends, so a limit is enforced exactly.
        """
        ...

    async def claim(
        self, worker: str, now: int, lease: int, limit: int, *, attempts: tuple[int, int | None] = (0, None)
    ) -> list[Run]:
        """Claims due pending runs for a worker, each of a thread on which no run is running.

        The smallest priority comes first, and among equal ones the oldest. Of one thread only the oldest pending run can be
        claimed. A run that was due once stays due, even if the clock is set back. On PostgreSQL threads that another transaction
        has locked are skipped.

        Args:
            worker: the name of the worker that claims.
            now: a run is due when its `due` is not after this moment (microseconds).
            lease: the moment at which the lease ends (microseconds).
            limit: at most so many runs.
            attempts: (least, below): only runs that had at least `least` attempts, and fewer than `below` unless that is None.

        Returns:
            The runs after the claim: running, attempt + 1, a new fence.
        """
        ...

    async def peek(self, now: int) -> QueuePeek:
        """Returns whether `claim` would find anything at `now`, and when the next run becomes due. Cheap, and takes no
        lock; workers call it before they claim.
        """
        ...

    async def recompute_delays(self, now: int, ahead: int) -> int:
        """Restarts the delay of pending runs whose delay was computed from a moment more than `ahead` microseconds after `now`:
        the clock was set back since.

        Returns:
            How many were changed; 0 when there are none left. Call it again until then.
        """
        ...

    async def run_state(self, run_id: str) -> RunState | None:
        """Returns status, fence and cancel request of a run without its payload; None if there is no such run."""
        ...

    async def take(self, run_id: str, worker: str, now: int, lease: int) -> Run | None:
        """Claims one pending run by id, with the arguments and effects of `claim`. The caller has made sure that no
        other run of its thread is running. Returns None when it is not pending.
        """
        ...

    async def holds(self, run_id: str, fence: int) -> bool:
        """Returns whether a run is running under this fence. In a writing transaction this cannot change until the transaction
        ends.
        """
        ...

    async def renew(self, held: Iterable[tuple[str, int]], lease: int) -> list[Renewal]:
        """Extends the leases of runs that are still held under the given fences to `lease` (microseconds), by at least 1, even if
        the clock was set back.

        Args:
            held: pairs of run id and fence.

        Returns:
            One entry for each run that is still held. `extended` is false where the run was locked at that moment: renew it again
            soon. Runs that are missing from the result are lost.
        """
        ...

    async def leases(self) -> list[Lease]:
        """Returns the leases of all running runs, of all workers."""
        ...

    async def still_held(self, leases: Sequence[Lease]) -> list[Run]:
        """Returns the runs of those leases that have the same fence and end as given, and locks them, so that they are
        not renewed before the transaction ends.

        Returns:
            A part if there are many, and none of threads that others have locked: call it again for the rest.
        """
        ...

    async def set_status(self, run_id: str, status: RunStatus, *, updated_at: int, ended_at: int | None = None) -> None:
        """Sets the status. Whatever leaves `running` loses lease, worker and fence. Which transitions are allowed is
        not checked here (`engine/states.py`).

        Args:
            updated_at: moment of the change (microseconds).
            ended_at: moment of the end, of a run that ended; None keeps what is there.
        """
        ...

    async def requeue(self, run_id: str, *, attempt: int) -> None:
        """Makes a running run pending again, at its old place in the queue and without a lease.

        Args:
            attempt: how many attempts count as made.
        """
        ...

    async def request_cancel(self, run_id: str, action: CancelAction) -> None:
        """Stores that a running run is to be cancelled. A `rollback` is not replaced by `interrupt`. Its worker reads
        the action when it is notified or renews the lease. Does nothing to other runs.
        """
        ...

    async def delete(self, run_id: str) -> None:
        """Removes the run's row, if it is there. Outcome, events and deliveries are removed by their own methods."""
        ...

    async def delete_of_thread(self, thread_id: str) -> int:
        """Removes all runs of a thread. Outcomes, events and deliveries stay. Returns how many runs there were."""
        ...

    async def put_outcome(self, outcome: Outcome) -> None:
        """Stores how a run ended, in place of an earlier outcome of it."""
        ...

    async def outcome(self, run_id: str) -> Outcome | None:
        """Returns how a run ended; None when it has not ended or its outcome is no longer kept."""
        ...

    async def expire_outcomes(self, thread_id: str, at: int) -> None:
        """Sets when the outcomes of all runs of a thread expire (microseconds). They can be read until they are removed."""
        ...

    async def delete_outcome(self, run_id: str) -> None:
        """Removes the outcome of one run, if there is one."""
        ...

    async def delete_expired_outcomes(self, now: int) -> int:
        """Removes outcomes that expired before `now` (microseconds). Returns how many."""
        ...

    async def ended_before(self, moment: int, limit: int) -> list[str]:
        """Returns at most `limit` ids of runs that ended before a moment (microseconds), the oldest first. The newest
        run of a thread that is interrupted is left out: it may still be resumed.
        """
        ...

    async def queue(self, now: int) -> QueueStats:
        """Returns how many runs are pending and running, and since when due runs wait. Reads without locks."""
        ...

    async def queued(self, thread_ids: Sequence[str] | None, limit: int) -> list[QueuedRun]:
        """Returns pending and running runs, without their payload: first those that run, then those that are ready, in the order
        in which they start, then the others, the oldest first. Reads without locks.

        Args:
            thread_ids: the threads whose runs are returned; None: all.
            limit: at most so many.
        """
        ...
