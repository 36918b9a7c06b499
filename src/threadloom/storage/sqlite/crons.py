"""Crons in SQLite."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from threadloom.clock import from_iso
from threadloom.codec import to_json
from threadloom.storage.crons import CronQuery
from threadloom.storage.named import load
from threadloom.storage.sqlite.filters import condition
from threadloom.types import Cron

SQL = load(__package__, "crons.sql")

ORDER = {
    "cron_id": "cron_id",
    "assistant_id": "assistant_id",
    "thread_id": "thread_id",
    "next_run_date": "next_run_date",
    "end_time": "ends_at",
    "created_at": "created_at",
    "updated_at": "updated_at",
}
"""What each `sort_by` sorts by. Ties keep the order of making."""


class SqliteCrons:
    """See `storage.crons.Crons`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def insert(self, cron: Cron) -> None:
        self._connection.execute(SQL["insert"], _to_row(cron))

    async def get(self, cron_id: str) -> Cron | None:
        row = self._connection.execute(SQL["get"], (cron_id,)).fetchone()
        return None if row is None else _from_row(row)

    async def update(self, cron: Cron) -> None:
        self._connection.execute(SQL["update"], _to_row(cron))

    async def due(self, now: int, limit: int) -> list[Cron]:
        return [_from_row(row) for row in self._connection.execute(SQL["due"], {"now": now, "limit": limit})]

    async def reckoned_after(self, moment: int, *, beyond: str, limit: int) -> list[Cron]:
        wanted = {"moment": moment, "beyond": beyond, "limit": limit}
        return [_from_row(row) for row in self._connection.execute(SQL["reckoned_after"], wanted)]

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
        direction = "DESC NULLS FIRST" if query.descending else "ASC NULLS LAST"
        ties = "DESC" if query.descending else "ASC"
        order = f"ORDER BY {ORDER[query.sort_by]} {direction}, seq {ties} LIMIT :limit OFFSET :offset"
        where, wanted = _filters(query)
        wanted |= {"limit": query.limit, "offset": query.offset}
        return [_from_row(row) for row in self._connection.execute(f"{SQL['search']}{where}\n{order}", wanted)]

    async def count(self, query: CronQuery) -> int:
        where, wanted = _filters(query)
        count: int = self._connection.execute(SQL["count"] + where, wanted).fetchone()[0]
        return count


def _to_row(cron: Cron) -> dict[str, Any]:
    return {
        "cron_id": cron.cron_id,
        "assistant_id": cron.assistant_id,
        "thread_id": cron.thread_id,
        "user_id": cron.user_id,
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "end_time": cron.end_time,
        "ends_at": None if cron.end_time is None else from_iso(cron.end_time),
        "payload": to_json(cron.payload).decode(),
        "next_run_date": cron.next_run_date,
        "metadata": to_json(cron.metadata).decode(),
        "on_run_completed": cron.on_run_completed,
        "user": None if cron.user is None else to_json(cron.user).decode(),
        "enabled": cron.enabled,
        "created_at": cron.created_at,
        "updated_at": cron.updated_at,
    }


def _from_row(row: Sequence[Any]) -> Cron:
    return Cron(
        cron_id=row[0],
        assistant_id=row[1],
        schedule=row[2],
        created_at=row[3],
        updated_at=row[4],
        thread_id=row[5],
        user_id=row[6],
        timezone=row[7],
        end_time=row[8],
        payload=orjson.loads(row[9]),
        next_run_date=row[10],
        metadata=orjson.loads(row[11]),
        on_run_completed=row[12],
        enabled=bool(row[13]),
        last_fired_at=row[14],
        last_run_id=row[15],
        last_error=row[16],
        user=None if row[17] is None else orjson.loads(row[17]),
    )


def _filters(query: CronQuery) -> tuple[str, dict[str, Any]]:
    """What the caller may see, as further conditions, and the values of all filters."""
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
