"""What a run has given to be stored and does not wait for: LangGraph goes on meanwhile, and the run's end waits for all of it.

A run whose end needs no reading takes what it has put into the transaction that ends it: one commit for both.

A step and the storing of what came of it have nothing to do with each other (`durability: async`), so what a quick run stores
needs no commit a step. If one put fails, none that follows it is stored, as if the run had waited for each.
"""

import asyncio
from collections.abc import Awaitable, Callable

from threadloom.errors import PutsFailedError, separate
from threadloom.storage.base import Storage, Tx

LONG = 100
"""Puts after which one is waited for: a run must not be faster than its storage for ever."""


class DeferredPuts:
    """The puts of one attempt of a run, in their order."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._failure: Exception | None = None
        self._newest: asyncio.Future[None] | None = None
        self._waiting = 0
        self.is_left = False
        """Whether the transaction that ends the run answers for what was put (`confirm`); otherwise `end` has waited for it."""
        self._dropped = False

    def put(self, work: Callable[[Tx], Awaitable[None]]) -> bool:
        """Hands in a put. False, with nothing done, where it has to be waited for.

        Raises:
            LostLeaseError, StorageError: an earlier put failed so.
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
        """Whether so much waits that the next put had better wait too."""
        return self._waiting > LONG

    def check(self) -> None:
        """
        Raises:
            LostLeaseError, StorageError: a put failed so.
        """
        if self._failure is not None:
            raise separate(self._failure)

    async def end(self) -> None:
        """Waits until all is committed, on any event loop. Raises as `check`."""
        if self._newest is not None and not self._newest.done():
            # Committed after all of it. (The future itself can be waited for on one event loop only.)
            await self._storage.write(_nothing)
        self.check()

    def leave(self) -> None:
        """Nobody waits for what was put: the transaction that ends the run confirms it."""
        self.is_left = True

    def drop(self) -> None:
        """What is not committed yet need not be stored, and may have failed: the thread goes with the run's end."""
        self._dropped = True

    def confirm(self) -> None:
        """Called within the transaction that ends the run: all that was put is in the same commit, or in an earlier one.

        Raises:
            PutsFailedError: a put failed, and was not dropped.
        """
        if self._failure is not None and not self._dropped:
            raise PutsFailedError(self._failure)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error


async def _nothing(tx: Tx) -> None:
    pass
