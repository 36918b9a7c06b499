"""Stored events on SQLite: one log for each thread, numbered without gaps."""

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from threadloom.errors import StaleRefsError
from threadloom.storage.events import EventValue, Page, StoredEvents
from threadloom.storage.named import load, numbered
from threadloom.storage.rows import EVENT
from threadloom.types import Event

SQL = load(__package__, "events.sql")
APPEND, _ = numbered(SQL["append"], "?")


class SqliteEvents(StoredEvents):
    """`Events` of the storage protocol."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    async def append_rows(self, events: Sequence[Event], values: Sequence[EventValue | None]) -> list[Event]:
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
        stored = [value for value in values if value is not None]
        if stored:
            self._db.executemany(SQL["insert_value"], [(value.id, value.base, value.data) for value in stored])
            bases = [value.base for value in stored if value.base is not None]
            if self._db.execute(SQL["missing"], (json.dumps(bases),)).fetchone()[0]:
                raise StaleRefsError("a value builds on one that was removed")
        self._db.executemany(APPEND, list(map(_row, events, values)))
        return list(events)

    async def values(self, ids: Sequence[int]) -> dict[int, EventValue]:
        rows = self._db.execute(SQL["values"], (json.dumps(ids),)).fetchall()
        return {row[0]: EventValue(*row) for row in rows}

    async def rows_of_run(self, run_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        return _page(self._db.execute(SQL["of_run"], (run_id, *after, limit)), size)

    async def rows_of_thread(self, thread_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        return _page(self._db.execute(SQL["of_thread"], (thread_id, *after, limit)), size)

    async def rows_of_channels(
        self,
        thread_id: str,
        after: int,
        upto: int,
        methods: Sequence[str],
        run_id: str | None,
        limit: int,
        size: int | None,
    ) -> Page:
        arguments = (thread_id, after, upto, json.dumps(methods), run_id, limit)
        return _page(self._db.execute(SQL["of_channels"], arguments), size)

    async def last_of_run(self, run_id: str) -> tuple[int, int, int] | None:
        found: tuple[int, int, int] | None = self._db.execute(SQL["last_of_run"], (run_id,)).fetchone()
        return found

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
        self._drop_values(self._db.execute(SQL["delete_of_run"], (run_id,)).fetchall())

    async def delete_expired(self, now: int) -> int:
        self._db.execute(SQL["raise_floor_of_expired"], (now,))
        deleted = self._db.execute(SQL["delete_expired"], (now,)).fetchall()
        self._drop_values(deleted)
        return len(deleted)

    async def trim(self, thread_id: str, keep: int) -> None:
        if keep:
            self._db.execute(SQL["raise_floor_of_trimmed"], (thread_id, keep))
        else:
            self._db.execute(SQL["drop_floor"], (thread_id,))
        self._drop_values(self._db.execute(SQL["trim"], (thread_id, keep)).fetchall())

    def _drop_values(self, deleted: Sequence[tuple[int | None]]) -> None:
        """Deletes values that were deleted events' and that nothing builds on, then those that only these built on."""
        ids = [id_ for (id_,) in deleted if id_ is not None]
        while ids:
            bases = self._db.execute(SQL["drop_values"], (json.dumps(ids),)).fetchall()
            ids = [id_ for (id_,) in bases if id_ is not None]


def _row(event: Event, value: EventValue | None) -> tuple[Any, ...]:
    """Returns the columns of an event, its value and its size."""
    if value is None:
        return (*EVENT.values(event), None, len(event.data))
    return (*EVENT.values(msgspec.structs.replace(event, data=None)), value.id, len(event.data))


def _page(rows: sqlite3.Cursor, size: int | None) -> Page:
    """Returns the first events of a query, up to a size. The rest is not read."""
    events: list[Event] = []
    values: list[int | None] = []
    left = size
    # A statement that is not read to its end would keep the connection at its snapshot as long as the cursor exists.
    with contextlib.closing(rows):
        for *row, value, bytes_ in rows:
            event = EVENT.read(row)
            events.append(event)
            values.append(value)
            if left is not None:
                left -= bytes_
                if left <= 0:
                    break
    return events, values
