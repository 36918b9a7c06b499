"""What a run has given to be stored and does not wait for: LangGraph goes on meanwhile, and the run's end waits for all of it.

A step and the storing of what came of it have nothing to do with each other (`durability: async`), so what a quick run stores
needs no commit a step. If one put fails, none that follows it is stored, as if the run had waited for each.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from threadloom.storage.base import Storage, Tx

T = TypeVar("T")


class Trail:
    """The puts of one attempt of a run, in their order."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._failure: BaseException | None = None
        self._newest: asyncio.Future[None] | None = None

    def put(self, work: Callable[[Tx], Awaitable[None]]) -> bool:
        """Hands in a put. False, with nothing done, where it has to be waited for.

        Raises:
            LostLeaseError, StorageError: an earlier put failed so.
        """
        self.check()
        before = self._newest

        async def in_turn(tx: Tx) -> None:
            self._note(before)
            if self._failure is not None:
                raise self._failure
            try:
                await work(tx)
            except Exception as error:
                self._failure = error
                raise

        handed_in = self._storage.defer(in_turn)
        if handed_in is None:
            return False
        handed_in.add_done_callback(self._note)
        self._newest = handed_in
        return True

    def check(self) -> None:
        """
        Raises:
            LostLeaseError, StorageError: a put failed so.
        """
        if self._failure is not None:
            raise self._failure

    async def end(self) -> None:
        """Waits until all is committed. Raises as `check`."""
        newest = self._newest
        if newest is not None and not newest.done():
            await self._storage.write(_nothing)  # takes along what waits
            await asyncio.wait([newest])
        self._note(newest)
        self.check()

    def _note(self, done: "asyncio.Future[None] | None") -> None:
        """Remembers the first failure, also when a whole commit failed."""
        if done is not None and done.done() and self._failure is None and not done.cancelled():
            self._failure = done.exception()


async def _nothing(tx: Tx) -> None:
    pass
