"""Finalizes runs: status, outcome, thread record and the next run change in one transaction."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from threadloom.clock import SECOND, Clock
from threadloom.codec import to_json
from threadloom.engine.admission import CANCELLED_PHASES
from threadloom.engine.outputs import RecentOutputs, stored_output
from threadloom.engine.removal import discard_thread, remove_run
from threadloom.engine.result import Result
from threadloom.engine.retry import with_retries
from threadloom.engine.snapshot import Snapshot
from threadloom.engine.states import USER_INTERRUPT, USER_ROLLBACK, Ending, check, thread_status
from threadloom.engine.thread_record import show_state
from threadloom.errors import LostLeaseError
from threadloom.storage.base import Storage, Tx
from threadloom.storage.queue import RunState
from threadloom.types import Delivery, Event, Outcome, Run, Thread


class FinalizedRun(msgspec.Struct, kw_only=True):
    """The final state of a run.

    Attributes:
        error: the error in the webhook's payload.
        values_json: the thread's state; None after a rollback.
        interrupts_json: the open questions, by task.
        delivery: the webhook delivery, if the run has a webhook.
    """

    run: Run
    status: str
    error: dict[str, Any] | None
    values_json: bytes | None
    interrupts_json: bytes | None = None
    delivery: Delivery | None = None


MakeDelivery = Callable[[FinalizedRun], Delivery | None]
"""Creates the webhook delivery of a run that ends. It is called within the transaction, and must not have side effects."""


def error_result(error: str, message: str) -> Result:
    """Returns the result of a run that the server ends."""
    fault = {"error": error, "message": message}
    return Result(kind="error", output_json=to_json({"__error__": fault}), error=fault)


def ending(result: Result) -> list[dict[str, Any]]:
    """Returns the data of the last `lifecycle` events of a v2 run."""
    if result.kind in ("error", "timeout"):
        return [{"event": "failed", "error": (result.error or {}).get("message"), **result.refusal}]
    if result.kind != "success":
        return list(CANCELLED_PHASES)
    waits = result.snapshot is not None and result.snapshot.has_next
    return [{"event": "interrupted" if waits else "completed"}]


class RunFinalizer:
    """Ends runs.

    Args:
        outputs: takes the outputs that are stored as references.
        keep: seconds that events, and outcomes of discarded threads, are kept after the end.
        delivery: creates the webhook delivery. It is stored in the transaction that ends the run, so neither exists without the
            other.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        clock: Clock,
        keep: float,
        outputs: RecentOutputs,
        delivery: MakeDelivery | None = None,
    ) -> None:
        self._outputs = outputs
        self._storage = storage
        self._clock = clock
        self._keep = int(keep * SECOND)
        self._delivery = delivery

    async def finalize(
        self, run: Run, result: Result, *, closing: Sequence[Event], stored: bool
    ) -> FinalizedRun | None:
        """Finalizes a running run with the result of its attempt.

        Returns None, and changes nothing, when a rollback was requested meanwhile. The rollback has priority even if the run
        ended first (an interrupt is too late then). The caller rolls back and finalizes again.

        Args:
            closing: the last events of its stream; stored in the same transaction when `stored`.

        Raises:
            LostLeaseError: this attempt no longer holds the run.
            PutsFailedError: nothing was changed, because a put of the attempt was not stored.
        """
        if result.deferred_puts is not None and run.temporary:
            result.deferred_puts.drop()
        done: FinalizedRun | None = None
        # Not before the run's last event, so that later events of the thread have later times. Not later when the transaction is
        # retried: the end that was first stored counts.
        now = max(self._clock.now(), closing[-1].ms * 1000)

        async def work(tx: Tx) -> FinalizedRun | None:
            nonlocal done
            if result.deferred_puts is not None:
                result.deferred_puts.confirm()
            # Reads the thread before its run: on PostgreSQL that locks the thread and begins the transaction in one round trip.
            thread = await tx.threads.get(run.thread_id, with_state=False)
            held = await _held(tx, run)
            if held.cancel == "rollback" and result.kind != "rolled back":
                return None
            # The webhook's payload contains the request, and a node may have changed its input in place.
            asked = await tx.runs.get(run.run_id) if run.kwargs.get("webhook") else run
            current = msgspec.structs.replace(asked or run, cancel=held.cancel)
            done = await self._end(tx, current, thread, result, closing, stored, now)
            if self._delivery is not None:
                done.delivery = self._delivery(done)
                if done.delivery is not None:
                    await tx.deliveries.insert(done.delivery)
            return done

        async def end() -> FinalizedRun | None:
            try:
                return await self._storage.write(work)
            except LostLeaseError:
                # The connection may have been lost after the commit.
                if done is None or not await self._has_ended(done):
                    raise
                return done

        finalized = await with_retries(end)
        if finalized is not None and result.kind != "rolled back":
            self._outputs.add(run.run_id, result.output_json)
        return finalized

    async def _has_ended(self, finalized: FinalizedRun) -> bool:
        """Returns whether the run is stored with this end."""
        run = await self._storage.read(lambda tx: tx.runs.get(finalized.run.run_id))
        if run is None:
            return finalized.run.temporary or finalized.status == "interrupted"
        return run.ended_at == finalized.run.ended_at

    async def roll_back(self, run: Run) -> None:
        """Removes all that the run put on its thread. The run itself stays running until it is finalized.

        Raises:
            LostLeaseError: as `finalize`.
        """

        async def work(tx: Tx) -> None:
            await _held(tx, run)
            await tx.lineage.rollback(run.thread_id, run.run_id)

        await self._storage.write(work)

    async def hand_back(self, run: Run, *, counts: bool = False, longer: Callable[[], bool] = lambda: False) -> None:
        """Returns a run that this process cannot end to the queue.

        Args:
            counts: whether the attempt counts, because the run may be the cause.
            longer: returns whether to keep retrying while the database fails.

        Raises:
            LostLeaseError: as `finalize`.
        """

        async def work(tx: Tx) -> None:
            await _held(tx, run)
            await tx.runs.requeue(run.run_id, attempt=run.attempt if counts else run.attempt - 1)

        # In a single process nobody else would do it, and the thread would stay busy.
        await with_retries(lambda: self._storage.write(work), longer=longer)

    async def abandon(self, run: Run) -> None:
        """Ends a failed run without encrypting or decrypting anything. Stores no outcome.

        Raises:
            LostLeaseError: as `finalize`.
        """
        now = self._clock.now()

        async def work(tx: Tx) -> None:
            await _held(tx, run)
            await tx.runs.set_status(run.run_id, check(run.status, "error"), updated_at=now, ended_at=now)
            if run.temporary:
                await discard_thread(tx, run, until=now + self._keep)
                return
            if run.stores_events:
                await tx.events.expire(run.run_id, now + self._keep)
            active = await tx.runs.has_active(run.thread_id)
            status = thread_status(active=active, has_next=False, failed=True)
            await tx.threads.update(run.thread_id, status=status, updated_at=now, state_updated_at=now)

        await with_retries(lambda: self._storage.write(work))

    async def _end(
        self,
        tx: Tx,
        run: Run,
        thread: Thread | None,
        result: Result,
        closing: Sequence[Event],
        stored: bool,
        now: int,
    ) -> FinalizedRun:
        if stored:
            await tx.events.append(closing)
        if result.kind == "rolled back":
            return await self._discard(tx, run, thread, result, now)
        status: Ending = "interrupted" if result.kind == "cancelled" else result.kind
        ended = check(run.status, status)
        if not run.temporary:  # a temporary run's row and events are removed with its thread, below
            await tx.runs.set_status(run.run_id, ended, updated_at=now, ended_at=now)
            if stored:
                await tx.events.expire(run.run_id, now + self._keep)
        output, checkpoint_id = result.output_json, None
        if not run.temporary and status == "success":
            output, checkpoint_id = stored_output(output, result.snapshot)
        await tx.runs.put_outcome(
            Outcome(
                run_id=run.run_id,
                thread_id=run.thread_id,
                status=status,
                output_json=output,
                checkpoint_id=checkpoint_id,
                error=result.error,
                # After the thread is discarded, its own metadata decides who may read the outcome.
                metadata=thread.metadata if run.temporary and thread else run.metadata,
            )
        )
        error = USER_INTERRUPT if result.kind == "cancelled" else result.error
        run.status, run.updated_at, run.ended_at = status, now, now
        snapshot = result.snapshot
        values, waiting = (snapshot.values_json, snapshot.interrupts_json) if snapshot else (None, None)
        if run.temporary:
            await discard_thread(tx, run, until=now + self._keep)
            values = values or result.output_json
        else:
            await self._show(tx, run, thread, snapshot, error, now)
        return FinalizedRun(run=run, status=status, error=error, values_json=values, interrupts_json=waiting)

    async def _discard(self, tx: Tx, run: Run, thread: Thread | None, result: Result, now: int) -> FinalizedRun:
        """Ends a run that was rolled back: removes it. Its thread is as it was before."""
        run.updated_at = run.ended_at = now
        if run.temporary:
            await discard_thread(tx, run, until=now + self._keep)
        else:
            await remove_run(tx, run.run_id, now=now, events_until=now + self._keep)
            await self._show(tx, run, thread, result.snapshot, thread.error if thread else None, now)
        return FinalizedRun(run=run, status="interrupted", error=USER_ROLLBACK, values_json=None)

    async def _show(
        self,
        tx: Tx,
        run: Run,
        thread: Thread | None,
        snapshot: Snapshot | None,
        error: dict[str, Any] | None,
        now: int,
    ) -> None:
        """Updates the thread's record for the end of one of its runs."""
        if thread is None:
            return
        active = await tx.runs.has_active(run.thread_id)
        status = await show_state(tx, run.thread_id, snapshot, error=error, active=active)
        await tx.threads.update(
            run.thread_id,
            status=status,
            updated_at=now,
            state_updated_at=now,
            metadata={**thread.metadata, "graph_id": run.graph_id, "assistant_id": run.assistant_id},
        )


async def _held(tx: Tx, run: Run) -> RunState:
    standing = await tx.runs.run_state(run.run_id)
    if standing is None or standing.status != "running" or standing.fence != run.fence:
        raise LostLeaseError(f"run {run.run_id} was taken over or removed")
    return standing
