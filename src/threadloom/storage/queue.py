"""The queue of runs: the state of a run, leases, statistics, and claims of new runs."""

from typing import Any

import msgspec

from threadloom.types import CancelAction, Run, RunStatus


class RunState(msgspec.Struct, frozen=True):
    """The state of a run: its status, its fence, and the requested cancellation."""

    status: RunStatus
    fence: int
    cancel: CancelAction | None


class Lease(msgspec.Struct, frozen=True):
    """The lease of a running run.

    `end` is the moment at which it ends, by the clock of the worker that holds it. It grows with each renewal. Other processes do
    not compare it with their own clocks; they watch whether it changes.
    """

    run_id: str
    fence: int
    end: int


class Renewal(msgspec.Struct, frozen=True):
    """A run that is still held, and the requested cancellation. `extended`: its lease was renewed; otherwise retry soon."""

    run_id: str
    cancel: CancelAction | None
    extended: bool = True


class QueuePeek(msgspec.Struct, frozen=True):
    """Whether `Runs.claim` would find anything, and when the next pending run becomes due that is not due yet."""

    claimable: bool
    next_due: int | None


class QueueStats(msgspec.Struct, frozen=True):
    """Statistics of the runs that are pending or running.

    The moments say since when due runs wait: the run that waits longest, the median, and the run that waits longest only for a
    worker (it is its thread's next, and no run of the thread is running).
    """

    pending: int
    running: int
    oldest: int | None = None
    median: int | None = None
    oldest_unblocked: int | None = None


class QueuedRun(msgspec.Struct, frozen=True):
    """The place of a pending or running run in the queue. Moments are in microseconds.

    Attributes:
        due: before this moment it does not start.
        attempt: how many attempts were started.
        worker: the holder of the lease; None: it is pending.
        lease: the moment at which the lease ends, by the clock of its holder.
        ready: whether it is its thread's next run, and no run of the thread is running.
        delayed: whether it waits until it is due.
        ahead: how many ready runs start before it; None if it is not ready.
    """

    run_id: str
    thread_id: str
    assistant_id: str
    status: RunStatus
    created_at: int
    due: int
    attempt: int
    worker: str | None
    lease: int | None
    ready: bool
    delayed: bool
    ahead: int | None


class Claim(msgspec.Struct, frozen=True):
    """A worker's claim on a run: from a moment until the lease ends (microseconds)."""

    worker: str
    now: int
    lease: int


def held(claim: Claim, fence: int) -> dict[str, Any]:
    """Returns the columns of a new run that a worker claims as it is created, in its first attempt."""
    return {
        "status": "running",
        "attempt": 1,
        "fence": fence,
        "worker": claim.worker,
        "lease": claim.lease,
        "started_at": claim.now,
        "updated_at": claim.now,
        "delayed_at": None,
    }


def delayed_at(run: Run) -> int | None:
    """Returns since when a new run is delayed; None if it starts as soon as it can, whatever the clock says."""
    return run.created_at if run.status == "pending" and run.due > run.created_at else None
