"""Leases: kept by a thread of their own, which a user's blocking code cannot starve, and swept when nobody keeps them."""

import logging
import threading
from collections.abc import Callable

import msgspec

from threadloom.clock import SECOND, Clock
from threadloom.engine.states import check
from threadloom.errors import ThreadloomError
from threadloom.storage.base import Storage, Tx
from threadloom.types import CancelAction, Run

log = logging.getLogger("threadloom.lease")

LEASE_SECONDS = 30.0
"""How long a worker that is not heard of holds its runs, unless the settings say otherwise."""

RENEW_SECONDS = 5.0
"""A cancellation whose message was lost is found at the next renewal."""

RENEWALS = 4
"""Leases are renewed at least so often before they are over."""


class LeaseKeeper:
    """Renews the leases of the runs that this process holds.

    Args:
        seconds: how long a lease lasts.
        alone: whether nobody else can take a run, however late a lease is renewed.
        lost: called (on the keeper's thread) with a run id whose lease is no longer ours.
        cancelled: called with a run id that was asked to stop.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        seconds: float,
        alone: bool,
        lost: Callable[[str], None],
        cancelled: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._length = int(seconds * SECOND)
        self._pause = min(RENEW_SECONDS, seconds / RENEWALS)
        self._alone = alone
        self._lost = lost
        self._cancelled = cancelled
        self._held: dict[str, _Lease] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="threadloom-leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; leases that are still held run out by themselves."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def end(self, now: int) -> int:
        """When a lease taken now is over."""
        return now + self._length

    def hold(self, run: Run) -> None:
        with self._lock:
            self._held[run.run_id] = _Lease(run.fence, run.lease or 0)

    def holds(self, run: Run) -> bool:
        """Whether a run is ours beyond doubt: its lease is not over. A process that was paused finds out here."""
        lease = self._held.get(run.run_id)
        return self._alone or (lease is not None and lease.fence == run.fence and self._clock.now() < lease.end)

    def release(self, run: Run) -> None:
        with self._lock:
            self._held.pop(run.run_id, None)

    def renew(self) -> None:
        """Renews all held leases once."""
        with self._lock:
            held = [(run_id, lease.fence) for run_id, lease in self._held.items()]
        if not held:
            return
        end = self.end(self._clock.now())

        async def work(tx: Tx) -> list[tuple[str, CancelAction | None]]:
            return await tx.runs.renew(held, end)

        kept = dict(self._storage.write_now(work))
        with self._lock:
            for run_id, fence in held:
                if run_id in kept and (lease := self._held.get(run_id)) and lease.fence == fence:
                    lease.end = end
        for run_id, _ in held:
            if run_id not in kept:
                self._lost(run_id)
            elif kept[run_id]:
                self._cancelled(run_id)

    def _drop_overdue(self) -> None:
        """Gives up what others may have taken by now, since it could not be renewed in time."""
        now = self._clock.now()
        with self._lock:
            overdue = [run_id for run_id, lease in self._held.items() if lease.end <= now]
        for run_id in overdue:
            self._lost(run_id)

    def _keep(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                self.renew()
            except ThreadloomError:
                log.exception("leases could not be renewed")
                if not self._alone:
                    self._drop_overdue()


class _Lease(msgspec.Struct):
    fence: int
    end: int


class Swept:
    """What `sweep` found: runs that may be claimed again, and those that must be ended instead."""

    def __init__(self) -> None:
        self.requeued: list[Run] = []
        self.to_end: list[Run] = []


async def sweep(storage: Storage, now: int | None, *, worker: str, lease: int, attempts: int, clock: Clock) -> Swept:
    """Takes up runs whose worker is gone: back into the queue, or, when they were asked to stop or their attempts are
    used up, into the hands of `worker` to be ended. However many sweep at once, each run is taken up by one of them.

    Args:
        now: leases that are over at this moment; None voids all (nobody else can hold one).
    """
    if not await storage.read(lambda tx: tx.runs.expired(now)):
        return Swept()

    async def work(tx: Tx) -> Swept:
        swept = Swept()
        for run in await tx.runs.expired(now):
            check(run.status, "pending")
            await tx.runs.requeue(run.run_id, attempt=run.attempt)
            if run.cancel or run.attempt >= attempts:
                claimed = await tx.runs.take(run.run_id, worker, clock.now(), lease)
                if claimed:
                    swept.to_end.append(claimed)
            else:
                swept.requeued.append(run)
        return swept

    return await storage.write(work)
