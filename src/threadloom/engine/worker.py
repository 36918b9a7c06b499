"""The worker of one process: claims, executes and finalizes runs."""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from threadloom.auth.run_users import RunUsers
from threadloom.broker.base import Broker
from threadloom.clock import SECOND, Clock
from threadloom.encryption.cipher import UndecipherableError
from threadloom.encryption.context import encryption_context
from threadloom.engine.attempts import Attempts
from threadloom.engine.event_values import EventValues
from threadloom.engine.events import KEEP, LARGEST, REPLAY_BYTES, Emitter, EventIds
from threadloom.engine.execute import Execution
from threadloom.engine.executing_run import ExecutingRun
from threadloom.engine.finalize import FinalizedRun, MakeDelivery, RunFinalizer, ending, error_result
from threadloom.engine.lease import LEASE_SECONDS, LeaseKeeper, Sweeper
from threadloom.engine.loops import Loops
from threadloom.engine.observe import Observer, log_run
from threadloom.engine.outputs import RecentOutputs
from threadloom.engine.result import Result
from threadloom.engine.run_config import known_state, read_state
from threadloom.error_payloads import error_payload
from threadloom.errors import LostLeaseError, PutsFailedError, StorageError, ThreadloomError
from threadloom.graphs.registry import GraphRegistry
from threadloom.log import run_context
from threadloom.storage.base import Storage, Tx
from threadloom.storage.queue import Claim
from threadloom.types import Event, Run

log = logging.getLogger("threadloom.worker")

POLL_INTERVAL_SECONDS = 1.0
"""Seconds between polls for claimable runs, where other processes exist."""

DELAY_SECONDS = 30.0
"""Longest wait for a delayed run in a single process. The machine may sleep, or its clock may be set."""

PLACE_SECONDS = 1.0
"""Seconds that a slot is reserved for a run that is being created: its transaction may have failed."""

AfterRun = Callable[[FinalizedRun], Awaitable[None]]
"""Called after a run has ended, before those who wait for it are notified. Used for webhooks."""


WIDE = 100
"""Tasks that a command may begin on the server's event loop. LangGraph prepares all tasks of a superstep without yielding."""


def _is_wide(run: Run) -> bool:
    """Returns whether a run begins with so many tasks that preparing them would block others."""
    goto = (run.kwargs.get("command") or {}).get("goto")
    return isinstance(goto, list) and len(goto) > WIDE


class Worker:
    """Executes runs, up to `jobs` at once.

    Where other processes exist, the worker polls every second for runs to claim, and periodically looks for runs whose worker is
    lost. It makes the last attempts of such runs one at a time, so that a run which kills its worker does not affect the others.

    Args:
        graphs: returns the graphs that are served now.
        users: the users of the runs.
        jobs: runs at once; 0 executes none.
        attempts: maximum number of attempts of a run whose worker is lost.
        timeout: seconds a run may take.
        keep: seconds that the events of a run are kept after its end.
        log_size: stored events that a thread keeps.
        event_size: bytes that an event may have.
        replay_bytes: bytes of stored events that a run keeps; may be changed.
        isolated: whether each run gets an event loop of its own.
        single_process: whether no other process can hold a lease, so that all leases are void at start.
        delivery: creates the webhook delivery of a run that ends.
        lease: seconds after its last renewal that a worker's lease ends and another worker may take its runs.
        observer: is notified of each attempt.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        broker: Broker,
        graphs: Callable[[], GraphRegistry],
        users: RunUsers,
        clock: Clock,
        numbers: EventIds,
        jobs: int,
        attempts: int,
        timeout: float,
        keep: float,
        log_size: int = KEEP,
        event_size: int = LARGEST,
        replay_bytes: int = REPLAY_BYTES,
        isolated: bool = False,
        single_process: bool = True,
        outputs: RecentOutputs,
        delivery: MakeDelivery | None = None,
        lease: float = LEASE_SECONDS,
        after_run: AfterRun | None = None,
        observer: Observer = log_run,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.jobs = jobs
        self._storage = storage
        self._broker = broker
        self._graphs, self._users = graphs, users
        self._clock, self._numbers = clock, numbers
        self._event_values = EventValues(storage.new_blob_id)
        self._attempts = Attempts(attempts)
        self._timeout = timeout
        self._single_process = single_process
        self._after_run, self._observer = after_run, observer
        self._log_size = log_size
        self._event_size, self.replay_bytes = event_size, replay_bytes
        self._finalizer = RunFinalizer(storage=storage, clock=clock, keep=keep, outputs=outputs, delivery=delivery)
        self._leases = LeaseKeeper(
            storage=storage,
            clock=clock,
            seconds=lease,
            single_process=single_process,
            lost=self._on_lease_lost,
            cancelled=self._cancel,
        )
        self._sweeper = Sweeper(storage=storage, clock=clock, worker=self.id, seconds=lease, attempts=attempts)
        self._loops = Loops(isolated)
        self._held: dict[str, ExecutingRun] = {}
        self._taken: dict[str, int] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._cancelled_early: dict[str, int] = {}
        self._claiming: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._stopping = False
        self._others_wait = False

    @property
    def active(self) -> int:
        """The number of runs that are being executed."""
        return len(self._held)

    def needs(self, graphs: GraphRegistry) -> bool:
        """Returns whether an active run began with these graphs."""
        return any(held.graphs is graphs for held in self._held.values())

    async def start(self) -> None:
        """Requeues the runs that an earlier process left, then claims runs in a background task."""
        self._broker.on_cancel(self._cancel)
        if self._single_process:
            await self._after_all_before()
        if self._single_process or self.jobs:
            await self._sweep(everything=self._single_process)
        if self.jobs:
            self._leases.start()
            self._claiming = asyncio.create_task(self._claim_forever())
            if not self._single_process:
                self._sweeping = asyncio.create_task(self._sweep_forever())

    async def _after_all_before(self) -> None:
        """Makes event ids of this process greater than those of earlier processes, even if the clock was set back since."""
        newest = await self._storage.read(lambda tx: tx.threads.newest_change())
        if newest is not None:
            self._numbers.after(newest)

    def drain(self) -> None:
        """Stops claiming. Active runs continue until `stop`."""
        self._stopping = True
        for task in (self._claiming, self._sweeping):
            if task is not None:
                task.cancel()

    async def stop(self, grace: float) -> None:
        """Stops claiming, lets runs end within `grace` seconds, and returns the rest to the queue."""
        self.drain()
        for task in (self._claiming, self._sweeping):
            if task is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._tasks and grace > 0:
            await asyncio.wait(self._tasks, timeout=grace)
        for held in list(self._held.values()):
            held.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        await asyncio.to_thread(self._leases.stop)
        self._loops.close()

    # --- claiming a run when it is created ---

    def reserve(self, run: Run) -> Claim | None:
        """See `admission.Starter`: a run that can begin at once needs no second transaction to be claimed."""
        now, steady = self._clock.now(), self._clock.steady()
        full = self._free_slots(steady) <= 0
        self._others_wait = self._others_wait or full
        # A slot that became free goes to the runs that wait, in their order.
        if self._claiming is None or self._stopping or self._others_wait:
            return None
        self._taken[run.run_id] = steady
        return Claim(self.id, now, self._leases.end(now))

    def start_run(self, run: Run) -> None:
        """See `admission.Starter`."""
        # A run that is no longer in `_taken` took longer than its lease lasts.
        self._begin(self._attempt(run), run, self._taken.pop(run.run_id, self._clock.steady() - self._leases.length))

    def _free_slots(self, steady: int) -> int:
        """Returns how many more runs may begin. Slots reserved for new runs do not count as free. Thread-safe."""
        taken = list(self._taken.items())
        for run_id, at in taken:
            if steady - at >= self._leases.length:
                self._taken.pop(run_id, None)
        kept = sum(steady - at < PLACE_SECONDS * SECOND for _, at in taken)
        return self.jobs - len(self._held) - kept

    # --- claiming ---

    async def _claim_forever(self) -> None:
        while True:
            try:
                wait = await self._claim()
            except StorageError:
                log.exception("runs cannot be claimed")
                wait = POLL_INTERVAL_SECONDS
            await self._broker.work(wait)

    async def _claim(self) -> float | None:
        """Claims runs that are ready. Returns the seconds until the next poll; None: until a wake-up."""
        while True:
            now, steady = self._clock.now(), self._clock.steady()
            free = self._free_slots(steady)
            outlook = await self._storage.read(lambda tx: tx.runs.peek(now), deferred=False)  # noqa: B023
            if free <= 0:
                break
            claimed = await self._claim_due(free, now) if outlook.claimable else []
            for run in claimed:
                self._begin(self._attempt(run), run, steady)
            self._others_wait = len(claimed) == free
            if not self._others_wait:
                break
        # Measured from that read: it did not see runs that became due since.
        due = outlook.next_due
        wait = None if due is None else max(0.0, (due - self._clock.now()) / SECOND)
        if self._single_process:
            return wait and min(wait, DELAY_SECONDS)
        look = POLL_INTERVAL_SECONDS * random.uniform(0.8, 1.2)
        return look if wait is None else min(look, wait)

    async def _claim_due(self, free: int, now: int) -> list[Run]:
        before_last = self._attempts.before_last
        takes_a_risk = any(self._attempts.is_risky(held.run) for held in self._held.values())

        async def work(tx: Tx) -> list[Run]:
            end = self._leases.end(now)
            if before_last is None:
                return await tx.runs.claim(self.id, now, end, free)
            claimed = await tx.runs.claim(self.id, now, end, free, attempts=(0, before_last))
            if len(claimed) < free and not takes_a_risk:
                claimed += await tx.runs.claim(self.id, now, end, 1, attempts=(before_last, None))
            return claimed

        return await self._storage.write(work)

    async def _sweep_forever(self) -> None:
        while True:
            await self._clock.sleep(self._sweeper.every * random.uniform(0.5, 1.5))
            try:
                await self._sweep(everything=False)
            except StorageError:
                log.exception("runs of lost workers cannot be looked for")

    async def _sweep(self, *, everything: bool) -> None:
        steady = self._clock.steady()
        swept = await self._sweeper.sweep(everything=everything)
        for run in swept.requeued:
            log.info("run %s goes on: its worker was lost in attempt %s", run.run_id, run.attempt)
        for run in swept.to_end:
            self._begin(self._give_up(run), run, steady)
        if swept.requeued:
            self._broker.wake()

    # --- one run ---

    def _begin(self, work: Coroutine[Any, Any, None], run: Run, since: int) -> None:
        held = self._held[run.run_id] = ExecutingRun(run, self._graphs())
        self._leases.hold(run, since)
        if run.run_id in self._cancelled_early:
            self._cancel(run.run_id)
        future = self._loops.run(self._watched(work, held), isolated=_is_wide(run))
        self._tasks.add(future)
        future.add_done_callback(lambda done: self._ended(done, run))

    def _ended(self, done: "asyncio.Future[Any]", run: Run) -> None:
        self._tasks.discard(done)
        self._leases.release(run)
        held = self._held.pop(run.run_id, None)
        self._users.release(run, over=self._single_process or (held is not None and held.over))
        if not done.cancelled() and (error := done.exception()):
            log.error("run %s could not be settled", run.run_id, exc_info=error)
        # Wakes only other workers: this one finds by itself what can be claimed now, unless it has stopped claiming.
        self._broker.wake(elsewhere=self._stopping)

    async def _watched(self, work: Coroutine[Any, Any, None], held: ExecutingRun) -> None:
        held.task = asyncio.current_task()
        held.loop = asyncio.get_running_loop()
        configurable = held.run.kwargs["config"]["configurable"]
        with run_context(held.run.run_id, held.run.thread_id, configurable.get("langgraph_request_id") or ""):
            held.observe(self._observer)
            try:
                with encryption_context(held.run.encryption_context):
                    await work
            except LostLeaseError:
                log.warning("run %s is no longer ours", held.run.run_id)
            except asyncio.CancelledError:
                if not (held.lost or self._stopping):
                    raise
            except ThreadloomError:
                raise  # the database failed: the worker that takes the run after its lease retries it
            except BaseException as error:
                if held.over or self._stopping:
                    raise
                await self._abort(held, error)
            finally:
                held.notify_end("lost" if held.lost else "requeued")

    async def _abort(self, held: ExecutingRun, error: BaseException) -> None:
        """Ends a run whose attempt returned no result. Otherwise the run would stay running.

        A `GeneratorExit` in user code closes every coroutine of its task but the outermost, so only here is awaiting possible.
        """
        held.finalize()
        log.error("run %s is broken off", held.run.run_id, exc_info=error)
        run, fault = held.run, error_payload(error)
        result = error_result(fault["error"], fault["message"])
        result.snapshot = None if run.temporary else await known_state(run, held.graphs, self._users)
        await self._finalize(held, result, self._emitter(run))

    async def _attempt(self, run: Run) -> None:
        """Executes a claimed run and finalizes it. When the database fails, leaves it to another attempt."""
        held = self._held[run.run_id]
        try:
            await self._execute(held)
        except StorageError:
            held.finalize()
            log.exception("run %s goes back into the queue: the database failed", run.run_id)
            await self._finalizer.hand_back(run, counts=True, longer=lambda: not self._stopping)
        except UndecipherableError as error:
            held.finalize()
            if not self._attempts.is_last(run):
                log.error("run %s goes back into the queue: %s", run.run_id, error.detail)
                await self._finalizer.hand_back(run, counts=True, longer=lambda: not self._stopping)
            else:
                await self._abandon(held, error)

    async def _execute(self, held: ExecutingRun) -> None:
        run = held.run
        emitter = self._emitter(run)
        await self._users.fetch(run)
        execution = Execution(
            run,
            graphs=held.graphs,
            users=self._users,
            emitter=emitter,
            resumed=await self._went_before(run),
            timeout=self._timeout,
            # Of a thread that is discarded, only a webhook's payload contains the state.
            snapshot=not run.temporary or bool(run.kwargs.get("webhook")),
            last=self._attempts.is_last(run),
        )
        held.execute()
        try:
            result = await execution.execute(lambda: held.cancelled)
        except asyncio.CancelledError:
            held.finalize()
            if self._stopping and not held.lost:
                await emitter.flush()
                await self._finalizer.hand_back(run)
            raise
        held.finalize()
        try:
            await self._finalize(held, result, emitter)
        except PutsFailedError as refused:
            result = execution.refused(refused.failure)
            result.snapshot = None if run.temporary else await read_state(run, held.graphs, self._users)
            await self._finalize(held, result, emitter)

    async def _went_before(self, run: Run) -> bool:
        """Returns whether an earlier attempt has put checkpoints. Also makes the ids of the run's events greater than those of
        the thread's earlier events, whatever the clocks of the processes that emitted them.
        """
        again = run.was_begun_before
        if self._single_process and not again:
            return False

        async def look(tx: Tx) -> tuple[int, bool]:
            thread = await tx.threads.get(run.thread_id, with_state=False)
            wrote = again and await tx.lineage.wrote(run.thread_id, run.run_id)
            return thread.updated_at if thread else 0, wrote

        changed, wrote = await self._storage.read(look)
        # The time of a lost attempt's last event is unknown, but it emitted none after its lease ended.
        self._numbers.after(max(changed, run.updated_at + SECOND if again else 0))
        return wrote

    async def _abandon(self, held: ExecutingRun, error: UndecipherableError) -> None:
        """Ends a run whose result cannot be stored because it can be neither encrypted nor decrypted."""
        run = held.run
        log.error("run %s ends without a word of what came of it: %s", run.run_id, error.detail)
        await self._finalizer.abandon(run)
        held.over = True
        held.notify_end("error", type(error).__name__)
        self._broker.publish(self._emitter(run).closing("error", error_payload(error)))

    def _emitter(self, run: Run) -> Emitter:
        return Emitter(
            run,
            storage=self._storage,
            broker=self._broker,
            numbers=self._numbers,
            holds=lambda: self._leases.holds(run),
            keep=self._log_size,
            largest=self._event_size,
            replay_bytes=self.replay_bytes,
            values=self._event_values,
        )

    async def _give_up(self, run: Run) -> None:
        """Ends a run whose worker was lost and that must not be tried again."""
        held = self._held[run.run_id]
        try:
            await self._fail_with_message(held)
        except UndecipherableError as error:
            await self._abandon(held, error)

    async def _fail_with_message(self, held: ExecutingRun) -> None:
        run = held.run
        await self._went_before(run)
        emitter = self._emitter(run)
        # Reading the state calls user code once more. This is done once: that code may be what kills workers.
        snapshot = await known_state(run, held.graphs, self._users) if self._attempts.may_call_graph(run) else None
        if run.cancel:
            output = (snapshot and snapshot.values_json) or b"{}"
            result = Result(kind="cancelled", output_json=output, snapshot=snapshot)
        else:
            attempts = f"The run's worker was lost {self._attempts.most} times; it is not tried again."
            result = error_result("RunLostError", attempts)
            result.snapshot = snapshot
        await self._finalize(held, result, emitter)

    async def _finalize(self, held: ExecutingRun, result: Result, emitter: Emitter) -> None:
        run = held.run
        await emitter.flush()
        finalized, closing = await self._end(run, result, emitter)
        if finalized is None:
            await self._finalizer.roll_back(run)
            snapshot = None if run.temporary else await known_state(run, held.graphs, self._users)
            finalized, closing = await self._end(run, Result(kind="rolled back", snapshot=snapshot), emitter)
        if finalized is not None:
            held.over = True
            held.notify_end(finalized.status, (finalized.error or {}).get("error"))
            if self._after_run is not None:
                await self._after_run(finalized)
        for events in closing:
            self._broker.publish(events)
        if finalized is not None and run.temporary:
            self._broker.gone(run.thread_id, run.run_id)

    async def _end(self, run: Run, result: Result, emitter: Emitter) -> tuple[FinalizedRun | None, list[list[Event]]]:
        """Finalizes a run. Also returns the batches of events to publish to its followers; the last batch is stored."""
        status = "interrupted" if result.kind in ("cancelled", "rolled back") else result.kind
        closing = [emitter.closing(status, result.error)]
        if emitter.channels:
            closing.append(emitter.closing_lifecycle(ending(result)))
        finalized = await self._finalizer.finalize(run, result, closing=closing[-1], stored=emitter.stored)
        return finalized, closing

    # --- cancelling a run ---

    def _cancel(self, run_id: str) -> None:
        held = self._held.get(run_id)
        if held is None:
            self._remember(run_id)
        elif not held.cancelled:
            held.cancelled = True
            held.stop()

    def _remember(self, run_id: str) -> None:
        """Remembers a cancellation that arrives before the worker knows that its claim was committed."""
        now = self._clock.steady()
        self._cancelled_early = {early: at for early, at in self._cancelled_early.items() if now - at < 10 * SECOND}
        self._cancelled_early[run_id] = now

    def _on_lease_lost(self, run_id: str, fence: int) -> None:
        held = self._held.get(run_id)
        if held is not None and held.run.fence == fence and not held.lost:
            held.lost = True
            held.stop()
