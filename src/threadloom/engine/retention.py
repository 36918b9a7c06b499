"""What is kept only for a while: events of runs that ended, outcomes of threads that are gone."""

import logging

from threadloom.clock import Clock
from threadloom.errors import StorageError
from threadloom.storage.base import Storage, Tx

log = logging.getLogger("threadloom.retention")

EVERY_SECONDS = 30


class Retention:
    """Drops stored events and outcomes whose time is over, now and then."""

    def __init__(self, *, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def run(self) -> None:
        """Sweeps for ever. A sweep that the database refuses is logged, and the next one tries again."""
        while True:
            await self._clock.sleep(EVERY_SECONDS)
            try:
                await self.sweep()
            except StorageError:
                log.exception("expired events could not be dropped")

    async def sweep(self) -> int:
        """One sweep; gives how many rows went."""
        now = self._clock.now()

        async def work(tx: Tx) -> int:
            return await tx.events.drop_expired(now) + await tx.runs.drop_expired_outcomes(now)

        return await self._storage.write(work)
