"""Erasing a thread with all its copies: what a copy shares with its source stays stored as long as either is there."""

import logging
from collections.abc import Sequence

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.errors import Conflict, Denied
from threadloom.services.permission import thread_seen
from threadloom.services.threads import StopRuns, forget, missing
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.types import Caller

log = logging.getLogger("threadloom.erasing")

Rules = dict[str, Filter | None]
"""What may be deleted, by the id of each thread that was asked about."""

LOOKS = 20
"""How often is looked for copies that were made, and runs that were started, while others were being stopped."""


class EraseService:
    """Deletes threads together with their copies.

    Args:
        guard: what callers may do. Copies that the caller may not delete stand in the way of erasing.
        stop_runs: stops the runs of a thread that is about to go.
    """

    def __init__(self, *, storage: Storage, guard: Guard, clock: Clock, stop_runs: StopRuns) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._stop_runs = stop_runs

    async def erase(self, caller: Caller, thread_id: str) -> Sequence[str]:
        """Deletes a thread and every thread that descends from it by copying, all or none. Gives their ids.

        Raises:
            NotFound: there is no such thread.
            Conflict: the caller may not delete one of the copies; or runs and copies are being made on them faster than they
                can be stopped.
        """
        rules = {thread_id: await self._guard.ask(caller, "threads", "delete", {"thread_id": thread_id})}
        for _ in range(LOOKS):
            family = await self._storage.read(lambda tx: _family(tx, thread_id, rules))
            if await self._ask(caller, family, rules):
                continue
            for doomed in family:
                await self._stop_runs(doomed)
            erased = await self._storage.write(lambda tx: self._forget_all(tx, thread_id, rules), heavy=True)
            if erased:
                log.info("thread %s was erased with %d copies", thread_id, len(erased) - 1)
                return erased
        raise Conflict(f"Thread {thread_id} or its copies are in use all the time; nothing was deleted")

    async def _ask(self, caller: Caller, family: Sequence[str], rules: Rules) -> bool:
        """Asks about the copies that were not asked about yet; whether there were any, which then have to be looked at."""
        unasked = [one for one in family if one not in rules]
        for one in unasked:
            try:
                rules[one] = await self._guard.ask(caller, "threads", "delete", {"thread_id": one})
            except Denied as denied:
                if denied.status >= 500:
                    raise
                raise not_all(family[0]) from denied
        return bool(unasked)

    async def _forget_all(self, tx: Tx, thread_id: str, rules: Rules) -> Sequence[str]:
        """Removes the whole family; nothing while something runs on any, or one was not asked about."""
        family = await _family(tx, thread_id, rules)
        for doomed in family:
            if doomed not in rules or await tx.runs.count_active(doomed):
                return ()
        now = self._clock.now()
        for doomed in family:
            await forget(tx, doomed, now)
        # Outputs of runs are otherwise kept a little longer, for those who wait for them.
        await tx.runs.drop_expired_outcomes(now + 1)
        return family


async def _family(tx: Tx, thread_id: str, rules: Rules) -> list[str]:
    """A thread and its copies, all of which the rules that are known permit."""
    if await thread_seen(tx, thread_id, rules[thread_id]) is None:
        raise missing(thread_id)
    family = [thread_id, *await tx.threads.copies(thread_id)]
    for one in family:
        rule = rules.get(one)
        if rule is not None and await thread_seen(tx, one, rule) is None:
            raise not_all(thread_id)
    return family


def not_all(thread_id: str) -> Conflict:
    """What is said when a copy is not the caller's to delete."""
    return Conflict(f"Thread {thread_id} has copies that are not yours to delete; nothing was deleted")
