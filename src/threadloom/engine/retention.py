"""Deletes what is kept only for a limited time: events of runs that ended, outcomes of deleted threads, deliveries of webhooks,
and, if configured, old runs.
"""

import logging

from threadloom.clock import MINUTE, Clock
from threadloom.engine.removal import remove_run
from threadloom.errors import StorageError
from threadloom.storage.base import Storage, Tx

log = logging.getLogger("threadloom.retention")

EVERY_SECONDS = 30
DAY = 24 * 60 * MINUTE

BATCH = 200
"""Runs that are deleted in one transaction. It limits how long other transactions wait."""


class Retention:
    """Deletes expired data periodically.

    Args:
        runs_days: days that a run is kept after its end, with its output and events; None: always.
    """

    def __init__(self, *, storage: Storage, clock: Clock, runs_days: float | None = None) -> None:
        self._storage = storage
        self._clock = clock
        self._runs_kept = None if runs_days is None else int(runs_days * DAY)

    async def run(self) -> None:
        """Sweeps periodically, without end. A sweep that the database fails is logged; the next one tries again."""
        while True:
            await self._clock.sleep(EVERY_SECONDS)
            try:
                await self.sweep()
            except StorageError:
                log.exception("what is kept only for a while could not be dropped")

    async def sweep(self) -> int:
        """Sweeps once. Returns the number of deleted events, outcomes, deliveries and old runs."""
        now = self._clock.now()

        async def work(tx: Tx) -> int:
            events = await tx.events.delete_expired(now)
            return events + await tx.runs.delete_expired_outcomes(now) + await tx.deliveries.delete_expired(now)

        dropped = await self._storage.write(work)
        if self._runs_kept is not None:
            dropped += await self._drop_runs(now - self._runs_kept)
        return dropped

    async def _drop_runs(self, before: int) -> int:
        """Deletes the runs that ended before a moment. Their checkpoints stay with their threads."""

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
