"""How a run ends: its status, its outcome, its thread's record and the next in line change in one transaction."""

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
    """How a run ended in the end. `error` is what a webhook tells; `values_json` the thread's state, None after rollback;
    `interrupts_json` the questions that wait for an answer, by task; `delivery` what its webhook is told, if it has one."""

    run: Run
    status: str
    error: dict[str, Any] | None
    values_json: bytes | None
    interrupts_json: bytes | None = None
    delivery: Delivery | None = None


MakeDelivery = Callable[[FinalizedRun], Delivery | None]
"""What the webhook of a run that ends is to be told; called within the transaction, without effects of its own."""


def error_result(error: str, message: str) -> Result:
    """The result of a run that ends by a decision of the server's."""
    fault = {"error": error, "message": message}
    return Result(kind="error", output_json=to_json({"__error__": fault}), error=fault)


def ending(result: Result) -> list[dict[str, Any]]:
    """How a v2 run tells of its end: the data of its last `lifecycle` events."""
    if result.kind in ("error", "timeout"):
        return [{"event": "failed", "error": (result.error or {}).get("message"), **result.refusal}]
    if result.kind != "success":
        return list(CANCELLED_PHASES)
    waits = result.snapshot is not None and result.snapshot.has_next
    return [{"event": "interrupted" if waits else "completed"}]


class RunFinalizer:
    """Ends runs.

    Args:
        outputs: is given the outputs that are stored as references.
        keep: seconds that events, and outcomes of thrown-away threads, are kept after the end.
        delivery: makes what webhooks are told; stored with the end of the run, so that neither is without the other.
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
        """Ends a running run with the result of its attempt.

        Gives None, and ends nothing, when a rollback was asked for meanwhile: it is kept even if the run was quicker
        (an interrupt comes too late then). Roll back and settle again.

        Args:
            closing: the last events of its stream; stored with the rest when `stored`.

        Raises:
            LostLeaseError: the run is no longer this attempt's to end.
            PutsFailedError: nothing was ended, for what the attempt put was not stored.
        """
        if result.deferred_puts is not None and run.temporary:
            result.deferred_puts.drop()
        done: FinalizedRun | None = None
        # Not before anything the run has told, so that whatever works on the thread next tells it after that. And no later
        # when it is tried again: the end that was first written down counts.
        now = max(self._clock.now(), closing[-1].ms * 1000)

        async def work(tx: Tx) -> FinalizedRun | None:
            nonlocal done
            if result.deferred_puts is not None:
                result.deferred_puts.confirm()
            # The thread before its run: on PostgreSQL that is its lock and the begin of the transaction in one.
            thread = await tx.threads.get(run.thread_id, with_state=False)
            held = await _held(tx, run)
            if held.cancel == "rollback" and result.kind != "rolled back":
                return None
            # A webhook tells what was asked for, and a node may have changed its input in place.
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
                # The database may have fallen silent after it had done so.
                if done is None or not await self._has_ended(done):
                    raise
                return done

        return await with_retries(end)

    async def _has_ended(self, finalized: FinalizedRun) -> bool:
        """Whether it was this end that the run came to."""
        run = await self._storage.read(lambda tx: tx.runs.get(finalized.run.run_id))
        if run is None:
            return finalized.run.temporary or finalized.status == "interrupted"
        return run.ended_at == finalized.run.ended_at

    async def roll_back(self, run: Run) -> None:
        """Takes back all that the run put on its thread. The run itself still runs, until it is settled.

        Raises:
            LostLeaseError: as `finalize`.
        """

        async def work(tx: Tx) -> None:
            await _held(tx, run)
            await tx.lineage.rollback(run.thread_id, run.run_id)

        await self._storage.write(work)

    async def hand_back(self, run: Run, *, counts: bool = False, longer: Callable[[], bool] = lambda: False) -> None:
        """Lets a run that this process cannot end be claimed again. The attempt `counts` when it may be why. `longer` tells
        whether to go on trying while the database refuses.

        Raises:
            LostLeaseError: as `finalize`.
        """

        async def work(tx: Tx) -> None:
            await _held(tx, run)
            await tx.runs.requeue(run.run_id, attempt=run.attempt if counts else run.attempt - 1)

        # Nobody else does it where there is no other process, and its thread would be busy for ever.
        await with_retries(lambda: self._storage.write(work), longer=longer)

    async def abandon(self, run: Run) -> None:
        """Ends a run that failed, without anything that would have to be encrypted or decrypted: there is no outcome.

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
        if not run.temporary:  # row and events of one go with its thread, below
            await tx.runs.set_status(run.run_id, ended, updated_at=now, ended_at=now)
            if stored:
                await tx.events.expire(run.run_id, now + self._keep)
        output, checkpoint_id = result.output_json, None
        if not run.temporary and status == "success":
            output, checkpoint_id = stored_output(output, result.snapshot)
        if checkpoint_id is not None:
            self._outputs.add(run.run_id, result.output_json)
        await tx.runs.put_outcome(
            Outcome(
                run_id=run.run_id,
                thread_id=run.thread_id,
                status=status,
                output_json=output,
                checkpoint_id=checkpoint_id,
                error=result.error,
                # Who may read the outcome once its thread is thrown away, the thread's own metadata tell.
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
        """Ends a run that was rolled back: nothing of it stays, the thread is as it was before."""
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
        """Lets the thread's record follow the end of one of its runs."""
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
