"""Stored events on SQLite: one log for each thread, numbered without gaps."""

import contextlib
import json
import sqlite3
from collections.abc import Collection, Sequence

from threadloom.storage.events import PAGE_BYTES
from threadloom.storage.named import load, numbered
from threadloom.storage.rows import EVENT
from threadloom.types import METHODS, Event

SQL = load(__package__, "events.sql")
APPEND, _ = numbered(SQL["append"], "?")
NEWEST = 2**63 - 1


class SqliteEvents:
    """`Events` of the storage protocol."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    async def append(self, events: Sequence[Event]) -> list[Event]:
        """Ids that would not grow, because the clock was set back since, are moved past the thread's last one."""
        if not events:
            return []
        seq, ms, n = self._db.execute(SQL["last"], (events[0].thread_id,)).fetchone()
        last = (ms or 0, n or 0)
        for event in events:
            seq += 1
            event.seq = seq
            if (event.ms, event.n) <= last:
                event.ms, event.n = last[0], last[1] + 1
            last = (event.ms, event.n)
        self._db.executemany(APPEND, [EVENT.values(event) for event in events])
        return list(events)

    async def of_run(
        self, run_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        return _page(self._db.execute(SQL["of_run"], (run_id, *after, limit)), size)

    async def last_of_run(self, run_id: str) -> tuple[int, int, int] | None:
        found: tuple[int, int, int] | None = self._db.execute(SQL["last_of_run"], (run_id,)).fetchone()
        return found

    async def of_thread(
        self, thread_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        return _page(self._db.execute(SQL["of_thread"], (thread_id, *after, limit)), size)

    async def of_channels(
        self,
        thread_id: str,
        *,
        after: int,
        upto: int | None = None,
        methods: Collection[str] = METHODS,
        run_id: str | None = None,
        limit: int = 1000,
        size: int | None = PAGE_BYTES,
    ) -> list[Event]:
        bounds = (thread_id, after, NEWEST if upto is None else upto)
        rows = self._db.execute(SQL["of_channels"], (*bounds, json.dumps(sorted(methods)), run_id, limit))
        return _page(rows, size)

    async def last_channel_seq(self, thread_id: str) -> int:
        return int(self._db.execute(SQL["last_channel_seq"], (thread_id,)).fetchone()[0])

    async def floor(self, thread_id: str) -> int:
        return int(self._db.execute(SQL["floor"], (thread_id,)).fetchone()[0])

    async def expire(self, run_id: str, at: int) -> None:
        self._db.execute(SQL["expire"], (run_id, at))

    async def expire_log(self, thread_id: str, at: int) -> None:
        self._db.execute(SQL["expire_log"], (thread_id, at))
        self._db.execute(SQL["drop_floor"], (thread_id,))

    async def delete_of_run(self, run_id: str) -> None:
        self._db.execute(SQL["raise_floor_of_run"], (run_id,))
        self._db.execute(SQL["delete_of_run"], (run_id,))

    async def delete_expired(self, now: int) -> int:
        self._db.execute(SQL["raise_floor_of_expired"], (now,))
        return self._db.execute(SQL["delete_expired"], (now,)).rowcount

    async def trim(self, thread_id: str, keep: int) -> None:
        if keep:
            self._db.execute(SQL["raise_floor_of_trimmed"], (thread_id, keep))
        else:
            self._db.execute(SQL["drop_floor"], (thread_id,))
        self._db.execute(SQL["trim"], (thread_id, keep))


def _page(rows: sqlite3.Cursor, size: int | None) -> list[Event]:
    """Returns the first events of a query, up to a size. The rest is not read."""
    events: list[Event] = []
    left = size
    # A statement that is not read to its end would keep the connection at its snapshot as long as the cursor exists.
    with contextlib.closing(rows):
        for row in rows:
            event = EVENT.read(row)
            events.append(event)
            if left is not None:
                left -= len(event.data)
                if left <= 0:
                    break
    return events
