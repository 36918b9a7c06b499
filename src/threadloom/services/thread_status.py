"""What the record of a thread shows once nothing runs on it: values, questions, error and status belong together."""

from collections.abc import Awaitable, Callable
from typing import Any

from threadloom.encryption.cipher import UndecipherableError
from threadloom.engine.snapshot import Snapshot
from threadloom.engine.states import USER_INTERRUPT, thread_status
from threadloom.storage.base import Storage, Tx
from threadloom.types import ThreadStatus


async def show_state(tx: Tx, thread_id: str, snapshot: Snapshot, *, error: dict[str, Any] | None) -> ThreadStatus:
    """Lets the record of a thread without active runs show a state. Gives the status that goes with it.

    Args:
        error: what its last run failed with, or that it was stopped.
    """
    await tx.threads.set_state(
        thread_id, values_json=snapshot.values_json, interrupts_json=snapshot.interrupts_json, error=error
    )
    return thread_status(active=0, has_next=snapshot.has_next, failed=_failed(error))


async def status_now(tx: Tx, thread_id: str) -> ThreadStatus:
    """The status that a thread without active runs has by what it shows. One that cannot be decrypted has failed.

    A record does not show whether a thread without a question has tasks to do: see `tell_stopped`.
    """
    try:
        thread = await tx.threads.get(thread_id)
    except UndecipherableError:
        return thread_status(active=0, has_next=False, failed=True)
    if thread is None:
        return "idle"
    waits = thread.interrupts_json not in (None, b"{}") or thread.error is not None
    return thread_status(active=0, has_next=waits, failed=_failed(thread.error))


async def tell_stopped(storage: Storage, thread_id: str, read: Callable[[], Awaitable[Snapshot]]) -> None:
    """Corrects what `status_now` told of a thread that has stopped before its end without asking anything. One that cannot be
    decrypted stays as it is.

    Args:
        read: gives the thread's newest state.
    """
    try:
        thread = await storage.read(lambda tx: tx.threads.get(thread_id, with_state=False))
    except UndecipherableError:
        return
    if thread is None or thread.status != "idle" or not (await read()).has_next:
        return

    async def work(tx: Tx) -> None:
        now = await tx.threads.get(thread_id, with_state=False)
        if now is not None and now.status == "idle":
            await tx.threads.update(thread_id, status=thread_status(active=0, has_next=True))

    await storage.write(work)


def _failed(error: dict[str, Any] | None) -> bool:
    return error is not None and error.get("error") != USER_INTERRUPT["error"]
