"""Tasks on PostgreSQL, read from the runs."""

from threadloom.storage.named import load
from threadloom.storage.postgres.filters import Arguments, condition
from threadloom.storage.postgres.session import Session
from threadloom.storage.rows import RUN
from threadloom.storage.tasks import Task, TaskQuery

SQL = load(__package__, "tasks.sql")


class PostgresTasks:
    """`Tasks` of the storage protocol."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def search(self, query: TaskQuery) -> list[Task]:
        arguments = Arguments()
        found = _found(query, arguments)
        page = f"LIMIT {arguments.put(query.limit)} OFFSET {arguments.put(query.offset)}"
        rows = await self._db.fetch(f"{found}\nORDER BY r.updated_at DESC, t.first DESC {page}", *arguments)
        return [Task(row[0], RUN.read(row[1:])) for row in rows]

    async def count(self, query: TaskQuery) -> int:
        arguments = Arguments()
        number: int = await self._db.fetchval(f"SELECT count(*) FROM ({_found(query, arguments)}) found", *arguments)
        return number


def _found(query: TaskQuery, arguments: Arguments) -> str:
    """Returns SQL for the tasks that match a query; the values of its parameters are added to `arguments`."""
    arguments += [query.assistant_id, query.thread_id, query.state, query.since]
    if query.where is None:
        return SQL["search"]
    seen = condition(query.where, "h.search", arguments)
    return f"{SQL['search']}\n  AND EXISTS (SELECT 1 FROM threads h WHERE h.thread_id = r.thread_id AND {seen})"
