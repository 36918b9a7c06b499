"""What the record of a thread shows of its state: values, questions, error and status change together, by one rule."""

from collections.abc import Awaitable, Callable
from typing import Any

from threadloom.encryption.cipher import UndecipherableError
from threadloom.engine.snapshot import Snapshot
from threadloom.engine.states import USER_INTERRUPT, thread_status
from threadloom.storage.base import Storage, Tx
from threadloom.types import Run, ThreadStatus


def status_of(snapshot: Snapshot | None, error: dict[str, Any] | None, *, active: bool = False) -> ThreadStatus:
    """The status of a thread that shows a state and an error.

    Args:
        snapshot: its newest state; None: that could not be read, and has no tasks to do as far as is known.
        error: what its last run failed with, or that it was cancelled.
        active: whether a run of it is still to end.
    """
    has_next = snapshot is not None and snapshot.has_next
    return thread_status(active=active, has_next=has_next, failed=_is_failure(error))


async def show_state(
    tx: Tx, thread_id: str, snapshot: Snapshot | None, *, error: dict[str, Any] | None, active: bool = False
) -> ThreadStatus:
    """Lets the record of a thread show a state. Gives the status that goes with it, which is the caller's to set.

    Args:
        snapshot, error, active: as `status_of`. Without a snapshot the record keeps showing the values that it shows.
    """
    if snapshot is None:
        await tx.threads.set_error(thread_id, error)
    else:
        await tx.threads.set_state(
            thread_id, values_json=snapshot.values_json, interrupts_json=snapshot.interrupts_json, error=error
        )
    return status_of(snapshot, error, active=active)


async def status_now(tx: Tx, thread_id: str) -> ThreadStatus:
    """The status that a thread without active runs has by what it shows. One that cannot be decrypted has failed.

    A record does not show whether a thread without a question has tasks to do: see `show_stopped`.
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
    """Lets the record of a thread follow the end of a run that waited in its queue; one that cannot be decrypted stays as it is.

    Such a run has changed the state only if an earlier attempt had begun it. Else `status_now` told all, but of a thread that
    had stopped before its end without asking anything: that one is not `idle`.

    Args:
        read: gives the thread's newest state; None when it cannot be read, so that the record stays as it is.
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
    """Whether an error that a thread shows is one; that a run was cancelled is none."""
    return error is not None and error != USER_INTERRUPT
