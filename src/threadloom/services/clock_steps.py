"""The clock is set while the server runs, or was set back while none did: what waits for a moment must not wait for ever.

Nothing else rests on two moments being comparable (decision 15): the order of a queue, leases and ids of events do not.
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
"""How often is looked whether the clock was set."""

AHEAD = 2 * SECOND
"""What was written down so much later than now was written down before the clock was set back."""


class ClockSteps:
    """Notices that the clock was set. After it was set back, delays that were reckoned from moments that are yet to come begin
    again, deliveries are made at once, and crons get the next date of their schedule.

    A step forward needs nothing: it cannot be told from a machine that slept, and what was due meanwhile is due.

    Args:
        crons: gives the service that serves now.
        wake: wakes the workers.
        patience: seconds in which all processes have noticed that the clock of the database was set.
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
        """Looks for ever. What was reckoned before the clock was set back while no server ran is looked for at once."""
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
        """Reckons anew what was reckoned from moments that are yet to come.

        Raises:
            StorageError: the database refused; some may have been reckoned.
        """
        now = self._clock.now()
        while await self._storage.write(lambda tx: tx.runs.recompute_delays(now, AHEAD)):
            pass
        await self._webhooks.recompute_due(now, AHEAD)
        await self._crons().set_back(now, AHEAD)
        self._wake()
