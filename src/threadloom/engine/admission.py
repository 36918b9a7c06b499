"""Creates runs. Applies the multitask strategy to the thread's other runs and queues the new run. Every new run passes here."""

from typing import Protocol

import msgspec

from threadloom.codec import to_json
from threadloom.engine.events import channel_params
from threadloom.engine.removal import remove_pending_run
from threadloom.engine.states import check, thread_status
from threadloom.errors import Conflict
from threadloom.storage.base import Tx
from threadloom.storage.queue import Claim
from threadloom.types import CHANNELS, Event, Outcome, Run

BUSY = "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."


CANCELLED_PHASES: tuple[dict[str, str], ...] = (
    {"event": "interrupted"},
    {"event": "failed", "error": "The run was cancelled"},
)
"""The `lifecycle` events that end a cancelled v2 run. The Python SDK's iterators stop only on `completed` and `failed`, and a
cancelled run did not complete, so it sends `failed`.
"""


class Admitted(msgspec.Struct, kw_only=True):
    """What the caller does after the transaction is committed.

    Attributes:
        cancel: running runs whose cancellation was requested.
        ended: pending runs that were ended before they started.
        claimed: the new run, if this process's worker claimed it in the same transaction.
    """

    run: Run
    cancel: list[str] = []
    ended: list[Run] = []
    claimed: Run | None = None


class Starter(Protocol):
    """A worker in this process that can claim a new run in the transaction that creates it."""

    def reserve(self, run: Run) -> Claim | None:
        """Reserves capacity for a run that is about to be created. Returns None when the worker has no free slot."""
        ...

    def start_run(self, run: Run) -> None:
        """Starts to execute a run that was created with such a claim. Called after the transaction is committed."""
        ...


class NoStarter:
    """The starter of a process that executes no runs. New runs wait for a worker in another process."""

    def reserve(self, run: Run) -> Claim | None:
        return None

    def start_run(self, run: Run) -> None:
        raise AssertionError("nothing was taken")


async def admit(tx: Tx, run: Run, starter: Starter, *, keep: int) -> Admitted:
    """Puts a new run into its thread's queue and applies its multitask strategy.

    See docs/contract/runs.md#several-runs-on-one-thread.

    Args:
        keep: how long events of a run are kept after its end, in microseconds.

    The thread must exist. After the commit the caller cancels the runs in `cancel`, notifies the readers of `ended`, and starts
    `claimed`, or wakes the workers when the run was not claimed.

    Raises:
        Conflict: the strategy is `reject` and the thread is busy. Nothing was changed.
    """
    strategy = run.multitask_strategy
    busy = await tx.runs.has_active(run.thread_id)
    admitted = Admitted(run=run)
    if busy and strategy == "reject":
        raise Conflict(BUSY)
    if busy and strategy in ("interrupt", "rollback"):
        for other in await tx.runs.active(run.thread_id):
            if other.status == "running":
                await tx.runs.request_cancel(other.run_id, strategy)
                admitted.cancel.append(other.run_id)
            else:
                now = run.created_at
                await end_pending(tx, other, now, keep=strategy == "interrupt", events_until=now + keep)
                admitted.ended.append(other)
    claim = None if busy or run.due > run.created_at else starter.reserve(run)
    stored = await tx.runs.insert(run, claim)
    if claim is not None:
        admitted.claimed = stored
    await tx.threads.update(run.thread_id, status=thread_status(active=True, has_next=False), updated_at=run.created_at)
    return admitted


def _lifecycle(run: Run, phase: dict[str, str], now: int) -> Event:
    ms = now // 1000
    data = to_json(channel_params(ms, (), {**phase, "graph_name": run.graph_id}))
    return Event(thread_id=run.thread_id, run_id=run.run_id, name="lifecycle", data=data, mode=CHANNELS, ms=ms)


async def end_pending(tx: Tx, run: Run, now: int, *, keep: bool, events_until: int) -> None:
    """Ends a pending run: sets it to `interrupted`, or removes it. The caller sets the thread's status. For a v2 run the closing
    events are stored for readers of the v2 event stream.

    Args:
        keep: True sets the run to `interrupted`; False removes it.
        events_until: when the events that an earlier attempt stored expire, in microseconds.
    """
    if run.kwargs.get("event_streaming"):
        await tx.events.append([_lifecycle(run, phase, now) for phase in CANCELLED_PHASES])
    if not keep:
        await remove_pending_run(tx, run, now=now, events_until=events_until)
        return
    await tx.runs.set_status(run.run_id, check(run.status, "interrupted"), updated_at=now, ended_at=now)
    if run.started_at is not None and run.stores_events:
        await tx.events.expire(run.run_id, events_until)
    await tx.runs.put_outcome(
        Outcome(
            run_id=run.run_id,
            thread_id=run.thread_id,
            status="interrupted",
            output_json=b"{}",
            error=None,
            metadata=run.metadata,
        )
    )
