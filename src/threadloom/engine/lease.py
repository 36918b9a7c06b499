"""Leases of runs. A thread of its own renews them, so that blocking user code cannot stop it; a sweeper finds expired ones."""

import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from threadloom.clock import SECOND, Clock, SilenceTracker
from threadloom.engine.attempts import Attempts
from threadloom.engine.states import check
from threadloom.errors import ThreadloomError
from threadloom.storage.base import Storage, Tx
from threadloom.storage.queue import Lease, Renewal
from threadloom.types import Run

log = logging.getLogger("threadloom.lease")

LEASE_SECONDS = 30.0
"""Default seconds after its last renewal that a worker's lease lasts."""

RENEW_SECONDS = 5.0
"""Seconds between renewals. A cancellation whose message was lost is found at the next one."""

RENEWALS = 4
"""Minimum number of renewals within the length of a lease."""

SOON_SECONDS = 0.2
"""Seconds until a renewal is retried that failed because the run's row was locked."""

SWEEPS = 10
"""Number of sweeps within the length of a lease."""

SWEPT_AT_ONCE = 200
"""Lost runs that are requeued in one transaction."""


class LeaseKeeper:
    """Renews the leases that this process holds. It measures their length by its steady clock.

    Args:
        seconds: the length of a lease.
        single_process: whether no other process can claim a run, however late a lease is renewed.
        lost: called on the keeper's thread with the run id and the fence of a lease that is lost. The run may be held again by
            then, with another fence.
        cancelled: called with the id of a run whose cancellation was requested.

    Attributes:
        length: the length of a lease, in microseconds.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        seconds: float,
        single_process: bool,
        lost: Callable[[str, int], None],
        cancelled: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self.length = int(seconds * SECOND)
        self._pause = min(RENEW_SECONDS, seconds / RENEWALS)
        self._single_process = single_process
        self._lost = lost
        self._cancelled = cancelled
        self._held: dict[str, _Hold] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="threadloom-leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread. Leases that are still held expire."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def end(self, now: int) -> int:
        """Returns when a lease taken now ends."""
        return now + self.length

    def hold(self, run: Run, since: int) -> None:
        """Renews the lease of a run from now on.

        Args:
            since: the steady clock's time before the run was claimed.
        """
        with self._lock:
            self._held[run.run_id] = _Hold(run.fence, since + self.length)

    def holds(self, run: Run) -> bool:
        """Returns whether this process certainly holds a run: its lease has not ended. This detects a paused process."""
        lease = self._held.get(run.run_id)
        return self._single_process or (
            lease is not None and lease.fence == run.fence and self._clock.steady() < lease.end
        )

    def release(self, run: Run) -> None:
        with self._lock:
            self._held.pop(run.run_id, None)

    def renew(self) -> bool:
        """Renews all held leases once. Returns False when some could not be renewed because their rows were locked."""
        with self._lock:
            held = [(run_id, lease.fence) for run_id, lease in self._held.items()]
        if not held:
            return True
        end, over = self.end(self._clock.now()), self._clock.steady() + self.length

        async def work(tx: Tx) -> list[Renewal]:
            return await tx.runs.renew(held, end)

        kept = {renewal.run_id: renewal for renewal in self._storage.write_now(work)}
        with self._lock:
            for run_id, fence in held:
                if (
                    run_id in kept
                    and kept[run_id].extended
                    and (lease := self._held.get(run_id))
                    and lease.fence == fence
                ):
                    lease.end = over
        for run_id, fence in held:
            if run_id not in kept:
                self._lost(run_id, fence)
            elif kept[run_id].cancel:
                self._cancelled(run_id)
        return all(renewal.extended for renewal in kept.values())

    def _drop_overdue(self) -> None:
        """Drops the leases that were not renewed in time, because others may have claimed their runs."""
        now = self._clock.steady()
        with self._lock:
            overdue = [(run_id, lease.fence) for run_id, lease in self._held.items() if lease.end <= now]
        for run_id, fence in overdue:
            self._lost(run_id, fence)

    def _keep(self) -> None:
        wait = self._pause
        while not self._stop.wait(wait):
            wait = self._pause
            try:
                if not self.renew():
                    wait = min(wait, SOON_SECONDS)
            except ThreadloomError:
                log.exception("leases could not be renewed")
                if not self._single_process:
                    self._drop_overdue()


class _Hold(msgspec.Struct):
    """A held lease: when it ends by the steady clock."""

    fence: int
    end: int


class Swept:
    """The result of a sweep: runs that may be claimed again, and runs that must be ended."""

    def __init__(self) -> None:
        self.requeued: list[Run] = []
        self.to_end: list[Run] = []


class Sweeper:
    """Finds runs whose worker is lost. It returns them to the queue, or assigns them to `worker` to be ended when their
    cancellation was requested or no attempt is left. With concurrent sweepers, exactly one takes each run.

    A worker is lost when this process has itself seen no renewal for the length of a lease (decision 15).

    Args:
        seconds: the length of a lease.
        attempts: the limit on attempts.
    """

    def __init__(self, *, storage: Storage, clock: Clock, worker: str, seconds: float, attempts: int) -> None:
        self._storage = storage
        self._clock = clock
        self._worker = worker
        self._attempts = Attempts(attempts)
        self._length = int(seconds * SECOND)
        self.every = seconds / SWEEPS
        """Approximate seconds between two sweeps."""
        self._silences: SilenceTracker[tuple[str, int]] = SilenceTracker(self._length, int(2 * self.every * SECOND))

    async def sweep(self, *, everything: bool = False) -> Swept:
        """Sweeps once.

        Args:
            everything: True treats all leases as void, because no other process can hold one.
        """
        asked = self._clock.steady()
        leases = await self._storage.read(lambda tx: tx.runs.leases())
        swept = Swept()
        if everything:
            over = leases
        else:
            signs = {(one.run_id, one.fence): one.end for one in leases}
            silent = set(self._silences.look(asked, self._clock.steady(), signs))
            over = [one for one in leases if (one.run_id, one.fence) in silent]
        for start in range(0, len(over), SWEPT_AT_ONCE):
            await self._take_up(over[start : start + SWEPT_AT_ONCE], swept)
        return swept

    async def _take_up(self, leases: Sequence[Lease], swept: Swept) -> None:
        async def work(tx: Tx) -> tuple[list[Run], list[Run]]:
            requeued, to_end = [], []
            for run in await tx.runs.still_held(leases):
                check(run.status, "pending")
                await tx.runs.requeue(run.run_id, attempt=run.attempt)
                if run.cancel or self._attempts.is_last(run):
                    now = self._clock.now()
                    claimed = await tx.runs.take(run.run_id, self._worker, now, now + self._length)
                    if claimed:
                        to_end.append(claimed)
                else:
                    requeued.append(run)
            return requeued, to_end

        requeued, to_end = await self._storage.write(work)
        swept.requeued += requeued
        swept.to_end += to_end
