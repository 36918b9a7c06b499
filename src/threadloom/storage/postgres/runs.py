"""Runs, their queue and their outcomes, on PostgreSQL.

A transaction that changes a pending or running run, or depends on what it reads of one, holds the lock of the run's thread until
it ends. So the rules on the runs of one thread are applied one after the other, as on SQLite.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from threadloom.codec import to_json
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.session import Session, bound
from threadloom.storage.queue import Claim, Lease, QueuedRun, QueuePeek, QueueStats, Renewal, RunState, delayed_at, held
from threadloom.storage.rows import OUTCOME, RUN
from threadloom.storage.tasks import TASK_ID_KEY
from threadloom.types import ACTIVE, CancelAction, Outcome, Run, RunStatus

SQL = load(__package__, "runs.sql")


class PostgresRuns:
    """`Runs` of the storage protocol."""

    def __init__(self, session: Session) -> None:
        self._db = session
        self._locked: set[str] = set()
        """Ids of runs whose threads are known to be locked."""

    async def insert(self, run: Run, claim: Claim | None = None) -> Run:
        await self._db.lock_thread(run.thread_id)
        self._locked.add(run.run_id)
        row = RUN.row(run) | {
            "task_id": task_of(run.metadata),
            "temporary": run.temporary,
            "delayed_at": delayed_at(run),
        }
        if claim is None:
            run.order = await self._db.fetchval(*bound(SQL["insert"], row))
            return run
        row |= held(claim, 0)
        row["seq"], row["fence"] = await self._db.fetchrow(*bound(SQL["insert_claimed"], row))
        run.order = row["seq"]
        return RUN.of(row)

    async def get(self, run_id: str) -> Run | None:
        row = await self._db.fetchrow(SQL["get"], run_id)
        if row is not None and await self._db.lock_thread(row["thread_id"]):
            row = await self._db.fetchrow(SQL["get"], run_id)
        if row is None:
            return None
        self._locked.add(run_id)
        return RUN.read(row)

    async def of_thread(
        self, thread_id: str, *, status: RunStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        await self._db.lock_thread(thread_id)
        query = SQL["running_of_thread" if status == "running" else "of_thread"]
        return [RUN.read(row) for row in await self._db.fetch(query, thread_id, status, limit, offset)]

    async def active(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[Run]:
        await self._db.lock_thread(thread_id)
        return [RUN.read(row) for row in await self._db.fetch(SQL["active_of_thread"], thread_id, after, limit)]

    async def has_active(self, thread_id: str) -> bool:
        await self._db.lock_thread(thread_id)
        return bool(await self._db.fetchval(SQL["has_active"], thread_id))

    async def busy_threads(self) -> list[str]:
        return [row[0] for row in await self._db.fetch(SQL["busy_threads"])]

    async def count_active_of_user(self, user_id: str, *, besides: str | None = None) -> int:
        if self._db.writes:
            await self._db.execute(SQL["lock_user"], user_id)
        number: int = await self._db.fetchval(SQL["count_active_of_user"], user_id, besides or "")
        return number

    async def claim(
        self, worker: str, now: int, lease: int, limit: int, *, attempts: tuple[int, int | None] = (0, None)
    ) -> list[Run]:
        rows = await self._db.fetch(SQL["claim"], worker, now, lease, limit, *attempts)
        claimed = [RUN.read(row) for row in rows]
        self._db.holds(run.thread_id for run in claimed)
        return claimed

    async def peek(self, now: int) -> QueuePeek:
        claimable, due = await self._db.fetchrow(SQL["peek"], now)
        return QueuePeek(claimable, due)

    async def take(self, run_id: str, worker: str, now: int, lease: int) -> Run | None:
        await self._lock(run_id)
        row = await self._db.fetchrow(SQL["take"], run_id, worker, now, lease)
        return None if row is None else RUN.read(row)

    async def run_state(self, run_id: str) -> RunState | None:
        await self._lock(run_id)
        row = await self._db.fetchrow(SQL["run_state"], run_id)
        return None if row is None else RunState(*row)

    async def holds(self, run_id: str, fence: int) -> bool:
        return bool(await self._db.fetchval(SQL["holds" if self._db.writes else "holds_now"], run_id, fence))

    async def recompute_delays(self, now: int, ahead: int) -> int:
        number: int = await self._db.fetchval(SQL["recompute_delays"], now, ahead)
        return number

    async def renew(self, held: Iterable[tuple[str, int]], lease: int) -> list[Renewal]:
        pairs = list(held)
        run_ids, fences = [escaped(run_id) for run_id, _ in pairs], [fence for _, fence in pairs]
        return [Renewal(*row) for row in await self._db.fetch(SQL["renew"], run_ids, fences, lease)]

    async def leases(self) -> list[Lease]:
        return [Lease(*row) for row in await self._db.fetch(SQL["leases"])]

    async def still_held(self, leases: Sequence[Lease]) -> list[Run]:
        """Runs whose threads another transaction has locked are skipped: the next call finds them."""
        run_ids = [escaped(one.run_id) for one in leases]
        fences, ends = [one.fence for one in leases], [one.end for one in leases]
        found = [RUN.read(row) for row in await self._db.fetch(SQL["still_held"], run_ids, fences, ends)]
        self._db.holds(run.thread_id for run in found)
        return found

    async def set_status(self, run_id: str, status: RunStatus, *, updated_at: int, ended_at: int | None = None) -> None:
        await self._lock(run_id)
        await self._db.execute(SQL["set_status"], run_id, status, updated_at, ended_at)

    async def requeue(self, run_id: str, *, attempt: int) -> None:
        await self._lock(run_id)
        await self._db.execute(SQL["requeue"], run_id, attempt)

    async def request_cancel(self, run_id: str, action: CancelAction) -> None:
        await self._lock(run_id)
        await self._db.execute(SQL["request_cancel"], run_id, action)

    async def delete(self, run_id: str) -> None:
        row = await self._db.fetchrow(SQL["get"], run_id)
        # A finished run conflicts with nothing. Many are deleted at once, and their threads need not be locked for that.
        if row is not None and row["status"] in ACTIVE:
            await self._db.lock_thread(row["thread_id"])
        await self._db.execute(SQL["delete"], run_id)

    async def delete_of_thread(self, thread_id: str) -> int:
        await self._db.lock_thread(thread_id)
        tag = await self._db.execute(SQL["delete_of_thread"], thread_id)
        return int(tag.removeprefix("DELETE "))

    async def put_outcome(self, outcome: Outcome) -> None:
        await self._db.execute(*bound(SQL["put_outcome"], OUTCOME.row(outcome)))

    async def outcome(self, run_id: str) -> Outcome | None:
        row = await self._db.fetchrow(SQL["outcome"], run_id)
        return None if row is None else OUTCOME.read(row)

    async def expire_outcomes(self, thread_id: str, at: int) -> None:
        await self._db.execute(SQL["expire_outcomes"], thread_id, at)

    async def delete_outcome(self, run_id: str) -> None:
        await self._db.execute(SQL["delete_outcome"], run_id)

    async def delete_expired_outcomes(self, now: int) -> int:
        number: int = await self._db.fetchval(SQL["delete_expired_outcomes"], now)
        return number

    async def ended_before(self, moment: int, limit: int) -> list[str]:
        return [row[0] for row in await self._db.fetch(SQL["ended_before"], moment, limit)]

    async def queue(self, now: int) -> QueueStats:
        return QueueStats(*await self._db.fetchrow(SQL["queue"], now))

    async def queued(self, thread_ids: Sequence[str] | None, limit: int) -> list[QueuedRun]:
        return [QueuedRun(*row) for row in await self._db.fetch(SQL["queued"], thread_ids, limit)]

    async def _lock(self, run_id: str) -> None:
        """Locks the thread of a run, if the run exists."""
        if self._db.writes and run_id not in self._locked:
            thread_id = await self._db.fetchval(SQL["thread_of"], run_id)
            if thread_id is not None:
                await self._db.lock_thread(thread_id)
                self._locked.add(run_id)


def task_of(metadata: Mapping[str, Any]) -> str | None:
    """Returns the task that a run continues, for its column."""
    task = metadata.get(TASK_ID_KEY)
    return task if task is None or isinstance(task, str) else to_json(task).decode()
