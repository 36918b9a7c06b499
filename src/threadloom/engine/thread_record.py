"""Updates a thread's record from its state: values, questions, error and status change together, by one rule."""

from collections.abc import Awaitable, Callable
from typing import Any

from threadloom.encryption.cipher import UndecipherableError
from threadloom.engine.snapshot import Snapshot
from threadloom.engine.states import USER_INTERRUPT, thread_status
from threadloom.storage.base import Storage, Tx
from threadloom.types import Run, ThreadStatus


def status_of(snapshot: Snapshot | None, error: dict[str, Any] | None, *, active: bool = False) -> ThreadStatus:
    """Returns the status of a thread from its state and error.

    Args:
        snapshot: its newest state; None: it could not be read, and is treated as having no tasks to execute.
        error: the error of its last run, or that this run was cancelled.
        active: whether a run of it has not ended yet.
    """
    has_next = snapshot is not None and snapshot.has_next
    return thread_status(active=active, has_next=has_next, failed=_is_failure(error))


async def show_state(
    tx: Tx, thread_id: str, snapshot: Snapshot | None, *, error: dict[str, Any] | None, active: bool = False
) -> ThreadStatus:
    """Writes a state to the thread's record. Returns the status that fits it; the caller sets it.

    Args:
        snapshot, error, active: as `status_of`. Without a snapshot the record's values stay unchanged.
    """
    if snapshot is None:
        await tx.threads.set_error(thread_id, error)
    else:
        await tx.threads.set_state(
            thread_id, values_json=snapshot.values_json, interrupts_json=snapshot.interrupts_json, error=error
        )
    return status_of(snapshot, error, active=active)


async def status_now(tx: Tx, thread_id: str) -> ThreadStatus:
    """Returns the status of a thread without active runs, from its record. A record that cannot be decrypted counts as failed.

    The record does not tell whether a thread without a question has tasks to execute: see `show_stopped`.
    """
    try:
        thread = await tx.threads.get(thread_id)
    except UndecipherableError:
        return thread_status(active=0, has_next=False, failed=True)
    if thread is None:
        return "idle"
    waits = thread.interrupts_json not in (None, b"{}") or thread.error is not None
    return thread_status(active=0, has_next=waits, failed=_is_failure(thread.error))


async def show_stopped(storage: Storage, run: Run, read: Callable[[], Awaitable[Snapshot | None]]) -> None:
    """Updates the thread's record for the end of a pending run. A record that cannot be decrypted stays unchanged.

    Such a run has changed the state only if an earlier attempt had begun. Otherwise the status from `status_now` is right, except
    for a thread that had stopped before its end without asking anything: that thread is not `idle`.

    Args:
        read: returns the thread's newest state; None when it cannot be read, so that the record stays unchanged.
    """
    began = run.started_at is not None
    try:
        thread = await storage.read(lambda tx: tx.threads.get(run.thread_id, with_state=False))
    except UndecipherableError:
        return
    if thread is None or thread.status == "busy" or not (began or thread.status == "idle"):
        return
    snapshot = await read()
    if snapshot is None:
        return

    async def work(tx: Tx) -> None:
        now = await tx.threads.get(run.thread_id, with_state=False)
        if now is None or (now.status, now.state_updated_at) != (thread.status, thread.state_updated_at):
            return
        if began:
            status = await show_state(tx, run.thread_id, snapshot, error=now.error)
        else:
            status = status_of(snapshot, now.error)
        if status != now.status:
            await tx.threads.update(run.thread_id, status=status)

    await storage.write(work)


def _is_failure(error: dict[str, Any] | None) -> bool:
    """Returns whether the error in a thread's record is a failure; a run's cancellation is not."""
    return error is not None and error != USER_INTERRUPT
