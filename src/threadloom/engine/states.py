"""The one table of status changes (docs/states.md shows it as a drawing).

Every status that changes does so through this module, in the transaction that causes it.
"""

from typing import Literal

from threadloom.errors import ThreadloomError
from threadloom.types import RunStatus, ThreadStatus

Ending = Literal["success", "error", "timeout", "interrupted"]
"""The statuses with which a run ends and stays stored. A rolled back run is removed."""

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    "pending": frozenset({"running", "interrupted"}),
    # Back to pending: its worker was lost or is stopping, and another attempt follows.
    "running": frozenset({"pending", "success", "error", "timeout", "interrupted"}),
    "success": frozenset(),
    "error": frozenset(),
    "timeout": frozenset(),
    "interrupted": frozenset(),
}


class IllegalTransition(ThreadloomError):
    """A status change that the table does not have: a bug in the server."""


def check(old: RunStatus, new: RunStatus) -> RunStatus:
    """Returns the new status of a run, if the table allows the change.

    Raises:
        IllegalTransition: the table does not allow it.
    """
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"a run cannot go from {old} to {new}")
    return new


def thread_status(*, active: int, has_next: bool, failed: bool = False) -> ThreadStatus:
    """Returns a thread's status (docs/contract/threads.md#status).

    Args:
        active: number of its runs that are pending or running.
        has_next: whether its newest checkpoint has tasks to execute.
        failed: whether its last ended run had an error or a timeout.
    """
    if active:
        return "busy"
    if failed:
        return "error"
    return "interrupted" if has_next else "idle"


USER_INTERRUPT = {
    "error": "UserInterrupt",
    "message": "interrupt requested via POST /threads/{thread_id}/runs/{run_id}/cancel",
}
"""The error in a thread's record after a cancelled run (docs/contract/runs.md#cancel)."""

USER_ROLLBACK = {
    "error": "UserRollback",
    "message": "rollback requested via POST /threads/{thread_id}/runs/{run_id}/cancel",
}
"""The error in the webhook's payload for a run that was rolled back."""
