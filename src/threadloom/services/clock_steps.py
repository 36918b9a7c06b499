"""Recomputes due times after the clock was set, while the server runs or while no server ran. Otherwise runs, deliveries and
crons could wait for a moment that is much too late.

Nothing else depends on the comparison of two moments (decision 15): not the order of the queue, nor leases, nor ids of events.
"""

import logging
from collections.abc import Callable

from threadloom.clock import SECOND, Clock, ClockStepDetector
from threadloom.errors import StorageError
from threadloom.services.crons import CronService
from threadloom.services.webhooks.delivery import WebhookSender
from threadloom.storage.base import Storage

log = logging.getLogger("threadloom.clock")

POLL_INTERVAL_SECONDS = 1.0
"""How often the clock is checked for steps."""

AHEAD = 2 * SECOND
"""A moment that is stored as "now" and is this much later than now was stored before the clock was set back."""


class ClockSteps:
    """Detects that the clock was set. After it was set back, delays that were computed from future moments start again,
    deliveries become due at once, and crons get the next date of their schedule.

    A step forward needs no action: it cannot be distinguished from a machine that slept, and what became due meanwhile is due.

    Args:
        crons: returns the current cron service.
        wake: wakes the workers.
        patience: seconds within which all processes have noticed that the clock of the database was set.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        crons: Callable[[], CronService],
        webhooks: WebhookSender,
        wake: Callable[[], None],
        patience: float = 0.0,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._crons = crons
        self._webhooks = webhooks
        self._wake = wake
        self.patience = patience

    async def run(self) -> None:
        """Runs until it is cancelled. Begins with `recompute`, in case the clock was set back while no server ran."""
        steps = ClockStepDetector(self._clock)
        back = True
        while True:
            if back:
                try:
                    await self.recompute()
                    back = False
                except StorageError:
                    log.exception("what waits for a moment could not be reckoned anew; trying again")
                except Exception:
                    log.exception("what waits for a moment could not be reckoned anew")
                    back = False
            await self._clock.sleep(POLL_INTERVAL_SECONDS)
            step = steps.look()
            if step:
                log.warning("The clock was set %s by %.1f s", "back" if step < 0 else "forward", abs(step) / SECOND)
            if step < 0:
                back = True
                if self.patience:
                    await self._clock.sleep(self.patience)

    async def recompute(self) -> None:
        """Recomputes the due times that were computed from future moments.

        Raises:
            StorageError: the database failed; some due times may have been recomputed.
        """
        now = self._clock.now()
        while await self._storage.write(lambda tx: tx.runs.recompute_delays(now, AHEAD)):
            pass
        await self._webhooks.recompute_due(now, AHEAD)
        await self._crons().set_back(now, AHEAD)
        self._wake()
