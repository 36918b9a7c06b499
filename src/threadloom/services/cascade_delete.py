"""Deletes a thread with all its copies. Content that a copy shares with its source stays stored until both are deleted."""

import functools
import logging
from collections.abc import Callable, Sequence

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.engine.removal import remove_thread
from threadloom.errors import Conflict, Denied
from threadloom.services.threads import StopRuns, missing
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.types import Caller

log = logging.getLogger("threadloom.erasing")

NOT_YOURS = "copies that are not yours to delete"

LOOKS = 20
"""How often the copies are read again, because copies and runs were created while others were being cancelled."""

AT_ONCE = 200
"""Threads that are deleted in one transaction. On PostgreSQL each takes two locks until its end, and the number of locks is
limited.
"""


class CascadeDeleteService:
    """Deletes threads together with their copies.

    Args:
        guard: authorizes callers. Nothing is deleted if the caller may not delete one of the copies.
        stop_runs: cancels the runs of a thread that is about to be deleted.
        gone: called with the id of each deleted thread.
    """

    def __init__(
        self, *, storage: Storage, guard: Guard, clock: Clock, stop_runs: StopRuns, gone: Callable[[str], None]
    ) -> None:
        self._gone = gone
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._stop_runs = stop_runs

    async def delete_with_copies(self, caller: Caller, thread_id: str) -> Sequence[str]:
        """Deletes a thread and all its direct and indirect copies, all or none. Returns their ids.

        More than `AT_ONCE` threads are deleted in several transactions: copies first, the thread itself in the last one. If this
        is interrupted or denied halfway, the caller can repeat the request.

        Raises:
            NotFound: there is no such thread.
            Conflict: the caller may not delete one of the copies; or runs and copies are created on them faster than they can be
                cancelled.
        """
        rule = await self._guard.ask(caller, "threads", "delete", {"thread_id": thread_id})
        family = _CopyTree(thread_id, rule)
        for _ in range(LOOKS):
            known = await self._storage.read(family.read)
            if await self._ask(caller, known, family):
                continue
            for doomed in known:
                await self._stop_runs(doomed)
            await self._delete_most(known, family)
            if rest := await self._storage.write(lambda tx: self._delete_rest(tx, family), heavy=True):
                self._tell(rest)
                erased = [*rest, *family.gone]
                log.info("thread %s was erased with %d copies", thread_id, len(erased) - 1)
                return erased
        raise family.conflict("copies that are in use all the time")

    async def _ask(self, caller: Caller, known: Sequence[str], family: "_CopyTree") -> bool:
        """Authorizes the deletion of copies that were not authorized yet. Returns whether there were any; then the copies are
        read again.
        """
        unasked = [one for one in known if one not in family.rules]
        for one in unasked:
            try:
                family.rules[one] = await self._guard.ask(caller, "threads", "delete", {"thread_id": one})
            except Denied as denied:
                if denied.status >= 500:
                    raise
                raise family.conflict(NOT_YOURS) from denied
        return bool(unasked)

    async def _delete_most(self, known: Sequence[str], family: "_CopyTree") -> None:
        """Deletes copies until the rest fits into one transaction with the thread."""
        for end in range(len(known), AT_ONCE, -AT_ONCE):
            portion = known[max(end - AT_ONCE, 1) : end]
            work = functools.partial(self._delete_idle, portion, family)
            gone = await self._storage.write(work, heavy=True)
            self._tell(gone)
            family.gone += gone

    async def _delete_idle(self, copies: Sequence[str], family: "_CopyTree", tx: Tx) -> Sequence[str]:
        """Deletes those of the copies that the rules still permit and that have no active runs. Returns them."""
        idle = [
            one
            for one in copies
            if await tx.threads.permitted(one, family.rules[one]) and not await tx.runs.has_active(one)
        ]
        await self._delete(tx, idle)
        return idle

    async def _delete_rest(self, tx: Tx, family: "_CopyTree") -> Sequence[str]:
        """Deletes the remaining threads. Deletes nothing if they are too many, one has active runs, or one was not authorized."""
        if len(await tx.threads.copies(family.thread_id)) >= AT_ONCE:
            return ()
        rest = await family.read(tx)
        for doomed in rest:
            if doomed not in family.rules or await tx.runs.has_active(doomed):
                return ()
        await self._delete(tx, rest)
        return rest

    def _tell(self, gone: Sequence[str]) -> None:
        for thread_id in gone:
            self._gone(thread_id)

    async def _delete(self, tx: Tx, doomed: Sequence[str]) -> None:
        now = self._clock.now()
        for one in doomed:
            await remove_thread(tx, one, now=now)
        # Outcomes of runs are otherwise kept for a while, for `join`.
        await tx.runs.delete_expired_outcomes(now + 1)


class _CopyTree:
    """A thread and its copies, as they are found while they are deleted.

    Attributes:
        rules: the authorization filter of each thread that was authorized, by thread id.
        gone: copies that were deleted already.
    """

    def __init__(self, thread_id: str, rule: Filter | None) -> None:
        self.thread_id = thread_id
        self.rules: dict[str, Filter | None] = {thread_id: rule}
        self.gone: list[str] = []

    async def read(self, tx: Tx) -> list[str]:
        """Returns the thread and its existing copies. Raises if a known rule does not permit one of them."""
        if not await tx.threads.permitted(self.thread_id, self.rules[self.thread_id]):
            raise missing(self.thread_id)
        found = [self.thread_id, *await tx.threads.copies(self.thread_id)]
        for one in found:
            rule = self.rules.get(one)
            if rule is not None and not await tx.threads.permitted(one, rule):
                raise self.conflict(NOT_YOURS)
        return found

    def conflict(self, why: str) -> Conflict:
        """Returns the error for copies that prevent the deletion."""
        gone = f"{len(self.gone)} others were deleted" if self.gone else "nothing was deleted"
        return Conflict(f"Thread {self.thread_id} has {why}; {gone}")
