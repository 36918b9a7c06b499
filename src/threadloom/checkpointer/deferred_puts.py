"""Deferred puts: checkpoints and pending writes that a run hands over to be stored without waiting. The run's end waits for all.

If a run's end needs no read, its deferred puts are stored in the transaction that ends it: one commit for both.

A superstep does not depend on the storing of the previous one (`durability: async`), so a fast run needs no commit for each
superstep. If one put fails, no later put of the run is stored, as if the run had waited for each.
"""

import asyncio
from collections.abc import Awaitable, Callable

from threadloom.errors import PutsFailedError, separate
from threadloom.storage.base import Storage, Tx

LONG = 100
"""After this many puts the run waits for one, so that it does not stay faster than its storage."""


class DeferredPuts:
    """The deferred puts of one attempt of a run, in their order."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._failure: Exception | None = None
        self._newest: asyncio.Future[None] | None = None
        self._waiting = 0
        self.is_left = False
        """Whether the transaction that ends the run confirms the puts (`confirm`). If not, `end` has waited for them."""
        self._dropped = False

    def put(self, work: Callable[[Tx], Awaitable[None]]) -> bool:
        """Hands over a put. Returns False, without storing anything, when the caller must wait for the put itself.

        Raises:
            LostLeaseError, StorageError: an earlier put failed with this error.
        """
        self.check()

        async def in_turn(tx: Tx) -> None:
            self.check()
            if not self._dropped:
                await work(tx)

        handed_in = self._storage.defer(in_turn, self._fail)
        if handed_in is None:
            return False
        self._waiting = 1 if self._newest is None or self._newest.done() else self._waiting + 1
        self._newest = handed_in
        return True

    @property
    def is_long(self) -> bool:
        """Whether so many puts are pending that the caller must wait for the next one."""
        return self._waiting > LONG

    def check(self) -> None:
        """Raises the error of a put that failed.

        Raises:
            LostLeaseError, StorageError: a put failed with this error.
        """
        if self._failure is not None:
            raise separate(self._failure)

    async def end(self) -> None:
        """Waits until all puts are committed, on any event loop. Raises as `check`."""
        if self._newest is not None and not self._newest.done():
            # This is committed after all puts. (The future itself can be awaited on one event loop only.)
            await self._storage.write(_nothing)
        self.check()

    def leave(self) -> None:
        """Leaves the puts to the transaction that ends the run; nothing else waits for them."""
        self.is_left = True

    def drop(self) -> None:
        """Allows the puts to fail or to stay uncommitted: the thread is removed at the run's end."""
        self._dropped = True

    def confirm(self) -> None:
        """Confirms the puts. Called within the transaction that ends the run: each put is in the same commit or in an earlier
        one.

        Raises:
            PutsFailedError: a put failed, and `drop` was not called.
        """
        if self._failure is not None and not self._dropped:
            raise PutsFailedError(self._failure)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error


async def _nothing(tx: Tx) -> None:
    pass
