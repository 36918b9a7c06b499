"""Stored events on PostgreSQL: one log for each thread, numbered without gaps.

A writer of a log locks its row of `event_logs`, which assigns the numbers, and not the thread's lock: events are stored while a
run executes, and no other record of the thread depends on them.
"""

from collections.abc import Sequence
from typing import Any

from threadloom.errors import StaleRefsError
from threadloom.storage.events import EventValue, Page, StoredEvents
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.session import Session
from threadloom.storage.rows import EVENT
from threadloom.types import Event

SQL = load(__package__, "events.sql")


class PostgresEvents(StoredEvents):
    """`Events` of the storage protocol."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def append_rows(self, events: Sequence[Event], values: Sequence[EventValue | None]) -> list[Event]:
        """Ids that would not grow, because another process's clock is ahead, are moved past the thread's last one."""
        if not events:
            return []
        have_values = any(values)
        row = await self._db.fetchrow(
            SQL["append"],
            events[0].thread_id,
            [escaped(event.run_id) for event in events],
            [event.ms for event in events],
            [event.n for event in events],
            [escaped(event.name) for event in events],
            [event.mode for event in events],
            [event.last for event in events],
            [None if value else event.data for event, value in zip(events, values, strict=True)],
            [len(event.data) for event in events],
            [value and value.id for value in values] if have_values else None,
            [value and value.base for value in values] if have_values else None,
            [value and value.data for value in values] if have_values else None,
        )
        if row is None:
            raise StaleRefsError("a value builds on one that was removed")
        first, moved = row
        for place, event in enumerate(events):
            event.seq = first + place
            if moved is not None:
                event.ms, event.n = moved[place], moved[len(events) + place]
        return list(events)

    async def values(self, ids: Sequence[int]) -> dict[int, EventValue]:
        return {row[0]: EventValue(*row) for row in await self._db.fetch(SQL["values"], ids)}

    async def rows_of_run(self, run_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        return _page(await self._db.fetch(SQL["of_run"], run_id, *after, limit, size))

    async def rows_of_thread(self, thread_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        return _page(await self._db.fetch(SQL["of_thread"], thread_id, *after, limit, size))

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
        return _page(
            await self._db.fetch(SQL["of_channels"], thread_id, after, upto, list(methods), run_id, limit, size)
        )

    async def last_of_run(self, run_id: str) -> tuple[int, int, int] | None:
        row = await self._db.fetchrow(SQL["last_of_run"], run_id)
        return None if row is None else (row["ms"], row["n"], row["seq"])

    async def last_channel_seq(self, thread_id: str) -> int:
        number: int = await self._db.fetchval(SQL["last_channel_seq"], thread_id)
        return number

    async def floor(self, thread_id: str) -> int:
        return await self._db.fetchval(SQL["floor"], thread_id) or 0

    async def expire(self, run_id: str, at: int) -> None:
        await self._db.execute(SQL["expire"], run_id, at)

    async def expire_log(self, thread_id: str, at: int) -> None:
        await self._db.execute(SQL["expire_log"], thread_id, at)

    async def delete_of_run(self, run_id: str) -> None:
        await self._drop_values(await self._db.fetchval(SQL["delete_of_run"], run_id))

    async def delete_expired(self, now: int) -> int:
        number, threads, values = await self._db.fetchrow(SQL["delete_expired"], now)
        await self._drop_values(values)
        if threads:
            await self._db.execute(SQL["drop_dead_logs"], threads)
        return int(number)

    async def trim(self, thread_id: str, keep: int) -> None:
        if keep:
            await self._drop_values(await self._db.fetchval(SQL["trim"], thread_id, keep))
        else:
            await self._drop_values(await self._db.fetchval(SQL["drop_log"], thread_id))

    async def _drop_values(self, ids: Sequence[int] | None) -> None:
        """Deletes values of deleted events that nothing builds on."""
        if ids:
            await self._db.execute(SQL["drop_values"], ids)


def _page(rows: Sequence[Any]) -> Page:
    return [EVENT.read(tuple(row)[:-1]) for row in rows], [row[-1] for row in rows]
