"""Removes threads and runs with everything that belongs to them. No other module lists what belongs to them."""

from threadloom.storage.base import Tx
from threadloom.types import Run


async def remove_thread(tx: Tx, thread_id: str, *, now: int) -> bool:
    """Removes a thread with its history, runs, crons, events and deliveries. A pending delivery is made first, then removed;
    outcomes of runs are removed by the next sweep (`engine.retention`).

    Args:
        now: the current time, in microseconds.

    Returns:
        False when the thread does not exist; nothing was changed.
    """
    if not await tx.threads.delete(thread_id):
        return False
    await _remove_history(tx, thread_id, outcomes_until=now)
    await tx.events.trim(thread_id, 0)
    await tx.deliveries.delete_of_thread(thread_id, now)
    return True


async def discard_thread(tx: Tx, run: Run, *, until: int) -> None:
    """Removes the thread of a stateless run, as `remove_thread` does, but keeps what clients that join the run still need:
    outcomes and stored events stay until `until`. Deliveries are kept for as long as the settings say.

    Args:
        run: the stateless run that ends.
        until: when the next sweep may delete outcomes and events, in microseconds.
    """
    await tx.threads.delete(run.thread_id)
    others = await _remove_history(tx, run.thread_id, outcomes_until=until) > 1
    if run.stores_events or others:
        await tx.events.expire_log(run.thread_id, until)


async def remove_run(tx: Tx, run_id: str, *, now: int, events_until: int | None = None) -> None:
    """Removes a run with its outcome, events and deliveries. Its checkpoints belong to its thread: `Lineage.delete_run` and
    `Lineage.rollback` remove them on request. A pending delivery is made first, then removed.

    Args:
        now: the current time, in microseconds.
        events_until: when the run's events expire, in microseconds, so that its followers can read them until then; the
            `lifecycle` events of a v2 run stay with the thread. None: all its events are removed at once.
    """
    await tx.runs.delete(run_id)
    await tx.runs.delete_outcome(run_id)
    if events_until is None:
        await tx.events.delete_of_run(run_id)
    else:
        await tx.events.expire(run_id, events_until)
    await tx.deliveries.delete_of_run(run_id, now)


async def remove_pending_run(tx: Tx, run: Run, *, now: int, events_until: int) -> None:
    """Removes a pending run and what earlier attempts stored, checkpoints included. Arguments as `remove_run`."""
    if run.started_at is None:
        await tx.runs.delete(run.run_id)  # a run that never began has nothing else
        return
    await tx.lineage.rollback(run.thread_id, run.run_id)
    await remove_run(tx, run.run_id, now=now, events_until=events_until)


async def _remove_history(tx: Tx, thread_id: str, *, outcomes_until: int) -> int:
    """Removes crons, checkpoints and runs of a thread. Returns the number of runs."""
    await tx.crons.delete_of_thread(thread_id)
    await tx.lineage.delete(thread_id)
    await tx.runs.expire_outcomes(thread_id, outcomes_until)
    return await tx.runs.delete_of_thread(thread_id)
