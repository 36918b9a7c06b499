"""Erasing a thread with all its copies: what a copy shares with its source stays stored as long as either is there."""

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
"""How often is looked for copies that were made, and runs that were started, while others were being stopped."""

AT_ONCE = 200
"""Threads that go in one transaction: on PostgreSQL each takes two locks until its end, of which there is a limited number."""


class CascadeDeleteService:
    """Deletes threads together with their copies.

    Args:
        guard: what callers may do. Copies that the caller may not delete stand in the way of erasing.
        stop_runs: stops the runs of a thread that is about to go.
        gone: is told the id of each thread that was deleted.
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
        """Deletes a thread and every thread that descends from it by copying, all or none. Gives their ids.

        Of more than `AT_ONCE` threads, copies go first, some at a time, and the thread itself goes with the last of them: who
        was cut off or refused in between asks again.

        Raises:
            NotFound: there is no such thread.
            Conflict: the caller may not delete one of the copies; or runs and copies are being made on them faster than they
                can be stopped.
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
        """Asks about the copies that were not asked about yet; whether there were any, which then have to be looked at."""
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
        """Removes copies, until no more are left than go in one transaction with their source."""
        for end in range(len(known), AT_ONCE, -AT_ONCE):
            portion = known[max(end - AT_ONCE, 1) : end]
            work = functools.partial(self._delete_idle, portion, family)
            gone = await self._storage.write(work, heavy=True)
            self._tell(gone)
            family.gone += gone

    async def _delete_idle(self, copies: Sequence[str], family: "_CopyTree", tx: Tx) -> Sequence[str]:
        """Removes those copies that still may be and on which nothing runs. Gives them."""
        idle = [
            one
            for one in copies
            if await tx.threads.permitted(one, family.rules[one]) and not await tx.runs.has_active(one)
        ]
        await self._delete(tx, idle)
        return idle

    async def _delete_rest(self, tx: Tx, family: "_CopyTree") -> Sequence[str]:
        """Removes what there is of the family; nothing if that is too much, something runs, or one was not asked about."""
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
        # Outputs of runs are otherwise kept a little longer, for those who wait for them.
        await tx.runs.delete_expired_outcomes(now + 1)


class _CopyTree:
    """A thread and its copies, as they are found while they are erased.

    Attributes:
        rules: what may be deleted, by the id of each thread that was asked about.
        gone: copies that went already.
    """

    def __init__(self, thread_id: str, rule: Filter | None) -> None:
        self.thread_id = thread_id
        self.rules: dict[str, Filter | None] = {thread_id: rule}
        self.gone: list[str] = []

    async def read(self, tx: Tx) -> list[str]:
        """The thread and those of its copies that are there, all of which the rules that are known permit."""
        if not await tx.threads.permitted(self.thread_id, self.rules[self.thread_id]):
            raise missing(self.thread_id)
        found = [self.thread_id, *await tx.threads.copies(self.thread_id)]
        for one in found:
            rule = self.rules.get(one)
            if rule is not None and not await tx.threads.permitted(one, rule):
                raise self.conflict(NOT_YOURS)
        return found

    def conflict(self, why: str) -> Conflict:
        """What is said when copies stand in the way."""
        gone = f"{len(self.gone)} others were deleted" if self.gone else "nothing was deleted"
        return Conflict(f"Thread {self.thread_id} has {why}; {gone}")
