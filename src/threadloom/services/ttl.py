"""Deletes or prunes threads whose time to live is over (docs/contract/threads.md#time-to-live)."""

import logging
from collections.abc import Callable

from threadloom.clock import Clock
from threadloom.config.settings import ThreadTtlSettings
from threadloom.engine.removal import remove_thread
from threadloom.services.threads import keep_latest, new_ttl
from threadloom.storage.base import Storage, Tx

log = logging.getLogger("threadloom.ttl")

MINUTE_SECONDS = 60


class ThreadSweeper:
    """Sweeps expired threads, at most `settings.sweep_limit` at a time, every `settings.sweep_interval_minutes`.

    Args:
        gone: called with the id of each deleted thread.
    """

    def __init__(
        self, *, storage: Storage, clock: Clock, settings: ThreadTtlSettings, gone: Callable[[str], None]
    ) -> None:
        self._gone = gone
        self._storage = storage
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Sweeps at once and then at each interval, until it is cancelled. A sweep that fails is logged."""
        while True:
            try:
                await self.sweep()
            except Exception:
                log.exception("expired threads could not be swept")
            await self._clock.sleep(self._settings.sweep_interval_minutes * MINUTE_SECONDS)

    async def sweep(self) -> int:
        """Sweeps once. Returns the number of threads that were deleted or pruned. Threads with active runs are left for the next
        sweep.
        """
        now = self._clock.now()
        limit = self._settings.sweep_limit
        expired = await self._storage.read(lambda tx: tx.threads.expired(now, limit), heavy=True)
        swept = 0
        for thread in expired:
            # One transaction per thread, so that a sweep of a thousand threads does not delay others.
            swept += await self._sweep_one(thread.thread_id, now)
        return swept

    async def _sweep_one(self, thread_id: str, now: int) -> bool:
        deleted = False

        async def work(tx: Tx) -> bool:
            nonlocal deleted
            deleted = False
            ttl = await tx.threads.ttl(thread_id)
            if ttl is None or ttl.expires_at > now:
                return False
            if await tx.runs.has_active(thread_id):
                return False
            if ttl.strategy == "delete":
                deleted = await remove_thread(tx, thread_id, now=now)
                return deleted
            # The time to live starts again, so that later checkpoints are pruned too.
            await tx.threads.set_ttl(thread_id, new_ttl(ttl.minutes, "keep_latest", now))
            return await keep_latest(tx, thread_id)

        swept = await self._storage.write(work, heavy=True)
        if deleted:
            self._gone(thread_id)
        return swept
