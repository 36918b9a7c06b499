"""The queue of runs: how it looks, how runs in it stand, and runs that are claimed as they are made."""

import msgspec
import orjson

from threadloom.types import CancelAction, Run, RunStatus


class Standing(msgspec.Struct, frozen=True):
    """Whether a run is still somebody's to end, and what was asked of it."""

    status: RunStatus
    fence: int
    cancel: CancelAction | None


class Outlook(msgspec.Struct, frozen=True):
    """Whether `Runs.claim` would find anything, and when the next pending run is due that is not due yet."""

    claimable: bool
    next_due: int | None


class QueueFigures(msgspec.Struct, frozen=True):
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


def claimed(run: Run, claim: Claim, fence: int, metadata: bytes | str, kwargs: bytes | str) -> Run:
    """A new run as `Runs.take` would give it: its first attempt, with content of its own, out of what is stored of it (JSON)."""
    return msgspec.structs.replace(
        run,
        status="running",
        metadata=orjson.loads(metadata),
        kwargs=orjson.loads(kwargs),
        attempt=1,
        fence=fence,
        lease=claim.lease,
        started_at=claim.now,
        updated_at=claim.now,
    )
