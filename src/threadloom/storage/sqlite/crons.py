"""Crons in SQLite."""

import sqlite3
from typing import Any

from threadloom.codec import to_json
from threadloom.storage.crons import CronQuery, ends_at, order
from threadloom.storage.named import bound, load
from threadloom.storage.rows import CRON
from threadloom.storage.sqlite.filters import condition
from threadloom.types import Cron

SQL = load(__package__, "crons.sql")


class SqliteCrons:
    """See `storage.crons.Crons`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def insert(self, cron: Cron) -> None:
        self._connection.execute(*bound(SQL["insert"], CRON.row(cron) | {"ends_at": ends_at(cron)}))

    async def get(self, cron_id: str) -> Cron | None:
        row = self._connection.execute(SQL["get"], (cron_id,)).fetchone()
        return None if row is None else CRON.read(row)

    async def update(self, cron: Cron) -> None:
        self._connection.execute(*bound(SQL["update"], CRON.row(cron) | {"ends_at": ends_at(cron)}))

    async def due(self, now: int, limit: int) -> list[Cron]:
        return [CRON.read(row) for row in self._connection.execute(SQL["due"], {"now": now, "limit": limit})]

    async def scheduled_after(self, moment: int, *, beyond: str, limit: int) -> list[Cron]:
        wanted = {"moment": moment, "beyond": beyond, "limit": limit}
        return [CRON.read(row) for row in self._connection.execute(SQL["scheduled_after"], wanted)]

    async def advance(self, cron_id: str, *, expected: int, following: int | None, fired_at: int | None = None) -> bool:
        wanted = {"cron_id": cron_id, "expected": expected, "following": following, "fired_at": fired_at}
        return self._connection.execute(SQL["advance"], wanted).rowcount > 0

    async def note(self, cron_id: str, *, run_id: str | None, error: str | None) -> None:
        self._connection.execute(SQL["note"], {"cron_id": cron_id, "run_id": run_id, "error": error})

    async def delete(self, cron_id: str) -> bool:
        return self._connection.execute(SQL["delete"], (cron_id,)).rowcount > 0

    async def delete_of_thread(self, thread_id: str) -> int:
        return self._connection.execute(SQL["delete_of_thread"], (thread_id,)).rowcount

    async def delete_of_assistant(self, assistant_id: str) -> int:
        return self._connection.execute(SQL["delete_of_assistant"], (assistant_id,)).rowcount

    async def search(self, query: CronQuery) -> list[Cron]:
        where, wanted = _filters(query)
        wanted |= {"limit": query.limit, "offset": query.offset}
        sql = f"{SQL['search']}{where}\n{order(query)} LIMIT :limit OFFSET :offset"
        return [CRON.read(row) for row in self._connection.execute(sql, wanted)]

    async def count(self, query: CronQuery) -> int:
        where, wanted = _filters(query)
        count: int = self._connection.execute(SQL["count"] + where, wanted).fetchone()[0]
        return count


def _filters(query: CronQuery) -> tuple[str, dict[str, Any]]:
    """Returns the caller's filters as further conditions, and the values of all filters."""
    where = ""
    values: dict[str, Any] = {}
    if query.where is not None:
        sql, values = condition(query.where, "metadata")
        where += f" AND {sql}"
    if query.threads is not None:
        sql, of_threads = condition(query.threads, "t.metadata", "t")
        where += f" AND (thread_id IS NULL OR EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = crons.thread_id AND {sql}))"
        values |= of_threads
    return where, values | {
        "assistant_id": query.assistant_id,
        "thread_id": query.thread_id,
        "enabled": query.enabled,
        "metadata": to_json(query.metadata).decode() if query.metadata else None,
    }
