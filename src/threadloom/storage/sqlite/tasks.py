"""Tasks on SQLite, read from the runs."""

import sqlite3
from typing import Any

from threadloom.storage.named import load
from threadloom.storage.rows import RUN
from threadloom.storage.sqlite.filters import condition
from threadloom.storage.tasks import Task, TaskQuery

SQL = load(__package__, "tasks.sql")
ORDER = "ORDER BY r.updated_at DESC, t.first DESC LIMIT :limit OFFSET :offset"


class SqliteTasks:
    """`Tasks` of the storage protocol."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    async def search(self, query: TaskQuery) -> list[Task]:
        sql, values = _found(query)
        values |= {"limit": query.limit, "offset": query.offset}
        return [Task(row[0], RUN.read(row[1:])) for row in self._db.execute(f"{sql}\n{ORDER}", values)]

    async def count(self, query: TaskQuery) -> int:
        sql, values = _found(query)
        number: int = self._db.execute(f"SELECT count(*) FROM ({sql})", values).fetchone()[0]
        return number


def _found(query: TaskQuery) -> tuple[str, dict[str, Any]]:
    """Returns SQL for the tasks that match a query, and the values of its parameters."""
    sql = SQL["search"]
    values: dict[str, Any] = {
        "assistant_id": query.assistant_id,
        "thread_id": query.thread_id,
        "state": query.state,
        "since": query.since,
    }
    if query.where is not None:
        seen, more = condition(query.where, "h.metadata")
        sql += f"\n  AND EXISTS (SELECT 1 FROM threads h WHERE h.thread_id = r.thread_id AND {seen})"
        values |= more
    return sql, values
