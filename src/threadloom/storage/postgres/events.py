"""Stored events on PostgreSQL: one log for each thread, numbered without gaps.

A writer of a log locks its row of `event_logs`, which assigns the numbers, and not the thread's lock: events are stored while a
run executes, and no other record of the thread depends on them.
"""

from collections.abc import Collection, Sequence

from threadloom.storage.events import PAGE_BYTES
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.session import Session
from threadloom.storage.rows import EVENT
from threadloom.types import METHODS, Event

SQL = load(__package__, "events.sql")
NEWEST = 2**63 - 1


class PostgresEvents:
    """`Events` of the storage protocol."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def append(self, events: Sequence[Event]) -> list[Event]:
        """Ids that would not grow, because another process's clock is ahead, are moved past the thread's last one."""
        if not events:
            return []
        row = await self._db.fetchrow(
            SQL["append"],
            events[0].thread_id,
            [escaped(event.run_id) for event in events],
            [event.ms for event in events],
            [event.n for event in events],
            [escaped(event.name) for event in events],
            [event.mode for event in events],
            [event.last for event in events],
            [event.data for event in events],
        )
        first, moved = row
        for place, event in enumerate(events):
            event.seq = first + place
            if moved is not None:
                event.ms, event.n = moved[place], moved[len(events) + place]
        return list(events)

    async def of_run(
        self, run_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        return [EVENT.read(row) for row in await self._db.fetch(SQL["of_run"], run_id, *after, limit, size)]

    async def last_of_run(self, run_id: str) -> tuple[int, int, int] | None:
        row = await self._db.fetchrow(SQL["last_of_run"], run_id)
        return None if row is None else (row["ms"], row["n"], row["seq"])

    async def of_thread(
        self, thread_id: str, *, after: tuple[int, int] = (0, 0), limit: int = 1000, size: int | None = PAGE_BYTES
    ) -> list[Event]:
        return [EVENT.read(row) for row in await self._db.fetch(SQL["of_thread"], thread_id, *after, limit, size)]

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
        rows = await self._db.fetch(SQL["of_channels"], *bounds, list(methods), run_id, limit, size)
        return [EVENT.read(row) for row in rows]

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
        await self._db.execute(SQL["delete_of_run"], run_id)

    async def delete_expired(self, now: int) -> int:
        number, threads = await self._db.fetchrow(SQL["delete_expired"], now)
        if threads:
            await self._db.execute(SQL["drop_dead_logs"], threads)
        return int(number)

    async def trim(self, thread_id: str, keep: int) -> None:
        if keep:
            await self._db.execute(SQL["trim"], thread_id, keep)
        else:
            await self._db.execute(SQL["drop_log"], thread_id)
