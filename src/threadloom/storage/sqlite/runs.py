"""Runs, their queue and their outcomes, on SQLite."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from threadloom.storage.named import bound, load
from threadloom.storage.queue import Claim, Lease, QueuedRun, QueuePeek, QueueStats, Renewal, RunState, delayed_at, held
from threadloom.storage.rows import OUTCOME, RUN, json_text
from threadloom.types import CancelAction, Outcome, Run, RunStatus

SQL = load(__package__, "runs.sql")

NO_LEVEL = -(2**15)
"""A number smaller than the priority of any run."""

AT_ONCE = 256
"""How many delayed runs are read at a time."""


class SqliteRuns:
    """`Runs` of the storage protocol."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._fence = 0

    async def insert(self, run: Run, claim: Claim | None = None) -> Run:
        row = RUN.row(run) | {"user_id": run.user_id or None, "worker": None, "delayed_at": delayed_at(run)}
        if claim is not None:
            row |= held(claim, self._next_fence())
        run.order = row["seq"] = self._db.execute(*bound(SQL["insert"], row)).lastrowid or 0
        return run if claim is None else RUN.of(row)

    async def get(self, run_id: str) -> Run | None:
        row = self._db.execute(SQL["get"], (run_id,)).fetchone()
        return RUN.read(row) if row else None

    async def of_thread(
        self, thread_id: str, *, status: RunStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        query = "running_of_thread" if status == "running" else "of_thread"
        rows = self._db.execute(SQL[query], (thread_id, status, -1 if limit is None else limit, offset))
        return [RUN.read(row) for row in rows]

    async def active(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[Run]:
        return [
            RUN.read(row)
            for row in self._db.execute(SQL["active_of_thread"], (thread_id, after, -1 if limit is None else limit))
        ]

    async def has_active(self, thread_id: str) -> bool:
        return bool(self._db.execute(SQL["has_active"], (thread_id,)).fetchone()[0])

    async def busy_threads(self) -> list[str]:
        return [thread_id for (thread_id,) in self._db.execute(SQL["busy_threads"])]

    async def count_active_of_user(self, user_id: str, *, besides: str | None = None) -> int:
        number: int = self._db.execute(SQL["count_active_of_user"], (user_id, besides or "")).fetchone()[0]
        return number

    async def claim(
        self, worker: str, now: int, lease: int, limit: int, *, attempts: tuple[int, int | None] = (0, None)
    ) -> list[Run]:
        taken: list[Run] = []
        more = True
        while more and len(taken) < limit:
            more = self._release(now)
            taken += self._claim_ready(worker, now, lease, limit - len(taken), attempts)
        return taken

    def _release(self, now: int) -> bool:
        """Adds delayed runs that have become due to the queue. True: there may be more of them."""
        due = self._db.execute(SQL["come_due"], (now, AT_ONCE)).fetchall()
        for (run_id,) in due:
            (thread_id,) = self._db.execute(SQL["release"], (run_id,)).fetchone()
            self._make_ready(thread_id)
        return len(due) == AT_ONCE

    def _claim_ready(
        self, worker: str, now: int, lease: int, limit: int, attempts: tuple[int, int | None]
    ) -> list[Run]:
        taken: list[Run] = []
        level = NO_LEVEL
        while len(taken) < limit and (level := self._db.execute(SQL["next_level"], (level,)).fetchone()[0]) is not None:
            found = self._db.execute(SQL["to_claim"], (limit - len(taken), *attempts, level)).fetchall()
            rows = [self._take(run_id, worker, now, lease) for (run_id,) in found]
            taken += [RUN.read(row) for row in rows if row]
        return taken

    async def peek(self, now: int) -> QueuePeek:
        claimable, due = self._db.execute(SQL["peek"], (now,)).fetchone()
        return QueuePeek(bool(claimable), due)

    async def take(self, run_id: str, worker: str, now: int, lease: int) -> Run | None:
        row = self._take(run_id, worker, now, lease)
        if row is None:
            return None
        run = RUN.read(row)
        self._db.execute(SQL["not_ready"], (run.thread_id, None))
        return run

    def _take(self, run_id: str, worker: str, now: int, lease: int) -> tuple[Any, ...] | None:
        """Claims a run. If another run was marked as its thread's next, that mark is removed."""
        row: tuple[Any, ...] | None = self._db.execute(
            SQL["claim"], (run_id, self._next_fence(), worker, lease, now)
        ).fetchone()
        return row

    def _make_ready(self, thread_id: str) -> None:
        """Marks the next run of a thread after its queue changed."""
        following = self._db.execute(SQL["next_of_thread"], (thread_id,)).fetchone()
        if following:
            self._db.execute(SQL["not_ready"], (thread_id, *following))
            self._db.execute(SQL["make_ready"], following)

    async def recompute_delays(self, now: int, ahead: int) -> int:
        found = self._db.execute(SQL["reckoned_ahead"], (now + ahead, AT_ONCE)).fetchall()
        self._db.executemany(SQL["recompute_delays"], [(run_id, now) for (run_id,) in found])
        return len(found)

    def _next_fence(self) -> int:
        """Returns a fence larger than every fence that a run may still hold. Only one connection writes, so it can count in
        memory.
        """
        self._fence = self._fence or self._db.execute(SQL["last_fence"]).fetchone()[0]
        self._fence += 1
        return self._fence

    async def run_state(self, run_id: str) -> RunState | None:
        row = self._db.execute(SQL["run_state"], (run_id,)).fetchone()
        return RunState(*row) if row else None

    async def holds(self, run_id: str, fence: int) -> bool:
        return self._db.execute(SQL["holds"], (run_id, fence)).fetchone() is not None

    async def renew(self, held: Iterable[tuple[str, int]], lease: int) -> list[Renewal]:
        kept: list[Renewal] = []
        for run_id, fence in held:
            row = self._db.execute(SQL["renew"], (run_id, fence, lease)).fetchone()
            if row:
                kept.append(Renewal(run_id, row[0]))
        return kept

    async def leases(self) -> list[Lease]:
        return [Lease(*row) for row in self._db.execute(SQL["leases"])]

    async def still_held(self, leases: Sequence[Lease]) -> list[Run]:
        rows = [self._db.execute(SQL["held"], (one.run_id, one.fence, one.end)).fetchone() for one in leases]
        return [RUN.read(row) for row in rows if row]

    async def set_status(self, run_id: str, status: RunStatus, *, updated_at: int, ended_at: int | None = None) -> None:
        self._changed(self._db.execute(SQL["set_status"], (run_id, status, updated_at, ended_at)))

    async def requeue(self, run_id: str, *, attempt: int) -> None:
        self._changed(self._db.execute(SQL["requeue"], (run_id, attempt)))

    def _changed(self, changed: sqlite3.Cursor) -> None:
        """Called after a run left or entered its thread's queue; the cursor returns the thread."""
        for (thread_id,) in changed.fetchall():
            self._make_ready(thread_id)

    async def request_cancel(self, run_id: str, action: CancelAction) -> None:
        self._db.execute(SQL["request_cancel"], (run_id, action))

    async def delete(self, run_id: str) -> None:
        self._changed(self._db.execute(SQL["delete"], (run_id,)))

    async def delete_of_thread(self, thread_id: str) -> int:
        return self._db.execute(SQL["delete_of_thread"], (thread_id,)).rowcount

    async def put_outcome(self, outcome: Outcome) -> None:
        self._db.execute(*bound(SQL["put_outcome"], OUTCOME.row(outcome)))

    async def outcome(self, run_id: str) -> Outcome | None:
        row = self._db.execute(SQL["outcome"], (run_id,)).fetchone()
        return None if row is None else OUTCOME.read(row)

    async def expire_outcomes(self, thread_id: str, at: int) -> None:
        self._db.execute(SQL["expire_outcomes"], (thread_id, at))

    async def delete_outcome(self, run_id: str) -> None:
        self._db.execute(SQL["delete_outcome"], (run_id,))

    async def delete_expired_outcomes(self, now: int) -> int:
        return self._db.execute(SQL["delete_expired_outcomes"], (now,)).rowcount

    async def ended_before(self, moment: int, limit: int) -> list[str]:
        return [run_id for (run_id,) in self._db.execute(SQL["ended_before"], (moment, limit))]

    async def queue(self, now: int) -> QueueStats:
        return QueueStats(*self._db.execute(SQL["queue"], (now,)).fetchone())

    async def queued(self, thread_ids: Sequence[str] | None, limit: int) -> list[QueuedRun]:
        rows = self._db.execute(SQL["queued"], (json_text(thread_ids), limit))
        return [QueuedRun(*[*plain, bool(ready), bool(delayed), ahead]) for *plain, ready, delayed, ahead in rows]
