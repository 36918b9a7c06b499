"""Crons in PostgreSQL."""

from typing import Any

from threadloom.storage.crons import CronQuery, ends_at, order
from threadloom.storage.named import load
from threadloom.storage.postgres.documents import searchable
from threadloom.storage.postgres.filters import Arguments, condition
from threadloom.storage.postgres.session import Session, bound
from threadloom.storage.rows import CRON
from threadloom.types import Cron

SQL = load(__package__, "crons.sql")


class PostgresCrons:
    """See `storage.crons.Crons`.

    A cron that belongs to a thread is changed under the thread's lock: the transaction may go on to create a run on the thread,
    or delete both.
    """

    def __init__(self, session: Session) -> None:
        self._db = session

    async def insert(self, cron: Cron) -> None:
        if cron.thread_id is not None:
            await self._db.lock_thread(cron.thread_id)
        await self._db.execute(*bound(SQL["insert"], _row(cron)))

    async def get(self, cron_id: str) -> Cron | None:
        await self._lock(cron_id)
        row = await self._db.fetchrow(SQL["get_to_change" if self._db.writes else "get"], cron_id)
        return None if row is None else CRON.read(row)

    async def update(self, cron: Cron) -> None:
        await self._lock(cron.cron_id)
        await self._db.execute(*bound(SQL["update"], _row(cron)))

    async def due(self, now: int, limit: int) -> list[Cron]:
        return [CRON.read(row) for row in await self._db.fetch(SQL["due"], now, limit)]

    async def scheduled_after(self, moment: int, *, beyond: str, limit: int) -> list[Cron]:
        return [CRON.read(row) for row in await self._db.fetch(SQL["scheduled_after"], moment, beyond, limit)]

    async def advance(self, cron_id: str, *, expected: int, following: int | None, fired_at: int | None = None) -> bool:
        await self._lock(cron_id)
        return bool(await self._db.fetchval(SQL["advance"], cron_id, expected, following, fired_at))

    async def note(self, cron_id: str, *, run_id: str | None, error: str | None) -> None:
        await self._lock(cron_id)
        await self._db.execute(SQL["note"], cron_id, run_id, error)

    async def delete(self, cron_id: str) -> bool:
        await self._lock(cron_id)
        return bool(await self._db.fetchval(SQL["delete"], cron_id))

    async def delete_of_thread(self, thread_id: str) -> int:
        await self._db.lock_thread(thread_id)
        number: int = await self._db.fetchval(SQL["delete_of_thread"], thread_id)
        return number

    async def delete_of_assistant(self, assistant_id: str) -> int:
        number: int = await self._db.fetchval(SQL["delete_of_assistant"], assistant_id)
        return number

    async def search(self, query: CronQuery) -> list[Cron]:
        arguments = Arguments()
        where = _where(query, arguments)
        page = f"LIMIT {arguments.put(query.limit)} OFFSET {arguments.put(query.offset)}"
        sql = f"SELECT {CRON.columns()} FROM crons {where} {order(query)} {page}"
        return [CRON.read(row) for row in await self._db.fetch(sql, *arguments)]

    async def count(self, query: CronQuery) -> int:
        arguments = Arguments()
        where = _where(query, arguments)
        count: int = await self._db.fetchval(f"SELECT count(*) FROM crons {where}", *arguments)
        return count

    async def _lock(self, cron_id: str) -> None:
        """Locks the thread that a cron belongs to, if there is one."""
        if self._db.writes:
            thread_id = await self._db.fetchval(SQL["thread_of"], cron_id)
            if thread_id is not None:
                await self._db.lock_thread(thread_id)


def _row(cron: Cron) -> dict[str, Any]:
    return CRON.row(cron) | {"ends_at": ends_at(cron), "search": searchable(cron.metadata)}


def _where(query: CronQuery, arguments: Arguments) -> str:
    """Returns the filters of a query as SQL; their values are added to `arguments`."""
    conditions: list[str] = []
    if query.where is not None:
        conditions.append(condition(query.where, "search", arguments))
    if query.threads is not None:
        seen = condition(query.threads, "t.search", arguments)
        of_thread = f"SELECT 1 FROM threads t WHERE t.thread_id = crons.thread_id AND {seen}"
        conditions.append(f"(thread_id IS NULL OR EXISTS ({of_thread}))")
    for column in ("assistant_id", "thread_id", "enabled"):
        wanted = getattr(query, column)
        if wanted is not None:
            conditions.append(f"{column} = {arguments.put(wanted)}")
    if query.metadata:
        conditions.append(f"search @> {arguments.json(searchable(query.metadata))}")
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""
