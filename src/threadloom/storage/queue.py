"""The queue of runs: how it looks, how runs in it stand, and runs that are claimed as they are made."""

from typing import Any

import msgspec

from threadloom.types import CancelAction, Run, RunStatus


class RunState(msgspec.Struct, frozen=True):
    """Whether a run is still somebody's to end, and what was asked of it."""

    status: RunStatus
    fence: int
    cancel: CancelAction | None


class Lease(msgspec.Struct, frozen=True):
    """The lease of a running run. `end` is when it is over by the clock of who holds it, and it grows with each renewal: others
    do not compare it with a clock of theirs, they watch whether it changes."""

    run_id: str
    fence: int
    end: int


class Renewal(msgspec.Struct, frozen=True):
    """A run that is still held, and what was asked of it. `extended`: its lease was renewed; else try again soon."""

    run_id: str
    cancel: CancelAction | None
    extended: bool = True


class QueuePeek(msgspec.Struct, frozen=True):
    """Whether `Runs.claim` has anything to do, and when the next pending run is due that is not due yet."""

    claimable: bool
    next_due: int | None


class QueueStats(msgspec.Struct, frozen=True):
    """Runs that are still to end. The moments are those since which runs wait that are due: the longest waiting, the one in the
    middle, and the longest waiting that only lacks a worker (it is its thread's turn, and nothing runs there)."""

    pending: int
    running: int
    oldest: int | None = None
    median: int | None = None
    oldest_unblocked: int | None = None


class Claim(msgspec.Struct, frozen=True):
    """A worker's hold on a run: from a moment until the lease ends (microseconds)."""

    worker: str
    now: int
    lease: int


def held(claim: Claim, fence: int) -> dict[str, Any]:
    """Columns of a new run that begins in a worker's hands, in its first attempt."""
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
    """Of a new run that must wait for its time: since when. None: it begins as soon as it can, whatever the clock says."""
    return run.created_at if run.status == "pending" and run.due > run.created_at else None
