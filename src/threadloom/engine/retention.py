"""What is kept only for a while: events of runs that ended, outcomes of threads that are gone, deliveries of webhooks, and
old runs where told so."""

import logging

from threadloom.clock import MINUTE, Clock
from threadloom.engine.removal import remove_run
from threadloom.errors import StorageError
from threadloom.storage.base import Storage, Tx

log = logging.getLogger("threadloom.retention")

EVERY_SECONDS = 30
DAY = 24 * 60 * MINUTE

BATCH = 200
"""Runs that go in one transaction, so that nobody waits long behind it."""


class Retention:
    """Drops what nothing needs any more, now and then.

    Args:
        runs_days: days after its end that a run is kept, with its output and events; None: always.
    """

    def __init__(self, *, storage: Storage, clock: Clock, runs_days: float | None = None) -> None:
        self._storage = storage
        self._clock = clock
        self._runs_kept = None if runs_days is None else int(runs_days * DAY)

    async def run(self) -> None:
        """Sweeps for ever. A sweep that the database refuses is logged, and the next one tries again."""
        while True:
            await self._clock.sleep(EVERY_SECONDS)
            try:
                await self.sweep()
            except StorageError:
                log.exception("what is kept only for a while could not be dropped")

    async def sweep(self) -> int:
        """One sweep; gives how many events, outcomes, deliveries and old runs went."""
        now = self._clock.now()

        async def work(tx: Tx) -> int:
            events = await tx.events.delete_expired(now)
            return events + await tx.runs.delete_expired_outcomes(now) + await tx.deliveries.delete_expired(now)

        dropped = await self._storage.write(work)
        if self._runs_kept is not None:
            dropped += await self._drop_runs(now - self._runs_kept)
        return dropped

    async def _drop_runs(self, before: int) -> int:
        """Forgets the runs that ended before a moment. Their threads keep all that they did."""

        async def work(tx: Tx) -> int:
            old = await tx.runs.ended_before(before, BATCH)
            for run_id in old:
                await remove_run(tx, run_id, now=before)
            return len(old)

        dropped = 0
        while True:
            found = await self._storage.write(work, heavy=True)
            dropped += found
            if found < BATCH:
                break
        if dropped:
            log.info("%d runs were dropped: their time was over", dropped)
        return dropped
