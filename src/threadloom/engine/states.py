"""The one table of status changes (docs/states.md shows it as a drawing).

Every status that changes does so through this module, in the transaction that causes it.
"""

from typing import Literal

from threadloom.errors import ThreadloomError
from threadloom.types import RunStatus, ThreadStatus

Ending = Literal["success", "error", "timeout", "interrupted"]
"""How a run can end and stay on record; a rolled back one leaves none."""

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
    """A status change that the table does not have: a defect of ours."""


def check(old: RunStatus, new: RunStatus) -> RunStatus:
    """The new status of a run, if the table allows it.

    Raises:
        IllegalTransition: it does not.
    """
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"a run cannot go from {old} to {new}")
    return new


def thread_status(*, active: int, has_next: bool, failed: bool = False) -> ThreadStatus:
    """What a thread's status is (docs/contract/threads.md#status).

    Args:
        active: number of its runs that are pending or running.
        has_next: whether its newest checkpoint has tasks to do.
        failed: whether the last run that ended did so by error or timeout.
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
"""What a thread shows after a cancelled run (docs/contract/runs.md#cancel)."""

USER_ROLLBACK = {
    "error": "UserRollback",
    "message": "rollback requested via POST /threads/{thread_id}/runs/{run_id}/cancel",
}
"""What a webhook tells of a run that was rolled back."""
