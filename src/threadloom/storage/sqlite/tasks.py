"""Tasks, read from the runs, on SQLite."""

import sqlite3

from threadloom.storage.sqlite.named import load
from threadloom.storage.sqlite.runs import run_of
from threadloom.storage.tasks import Task, TaskQuery

SQL = load("tasks.sql")


class SqliteTasks:
    """`Tasks` of the storage protocol."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    async def search(self, query: TaskQuery) -> list[Task]:
        values = (*_filters(query), query.limit, query.offset)
        return [Task(row[0], run_of(row[1:])) for row in self._db.execute(SQL["search"], values)]

    async def count(self, query: TaskQuery) -> int:
        counted = f"SELECT count(*) FROM ({SQL['search']})"
        number: int = self._db.execute(counted, (*_filters(query), -1, 0)).fetchone()[0]
        return number


def _filters(query: TaskQuery) -> tuple[object, ...]:
    return query.assistant_id, query.thread_id, query.state, query.since
