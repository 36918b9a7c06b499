"""The status of a thread on which nothing runs any more, by what its record shows."""

from threadloom.encryption.cipher import UndecipherableError
from threadloom.engine.states import thread_status
from threadloom.storage.base import Tx
from threadloom.types import Thread, ThreadStatus


async def status_now(tx: Tx, thread_id: str) -> ThreadStatus:
    """The status that a thread without active runs has by what it shows. One that cannot be decrypted has failed."""
    try:
        thread = await tx.threads.get(thread_id)
    except UndecipherableError:
        return thread_status(active=0, has_next=False, failed=True)
    if thread is None:
        return "idle"
    waits = thread.interrupts_json not in (None, b"{}")
    failed = thread.error is not None
    return thread_status(active=0, has_next=waits or failed, failed=failed and not _stopped(thread))


def _stopped(thread: Thread) -> bool:
    return thread.error is not None and thread.error.get("error") == "UserInterrupt"
