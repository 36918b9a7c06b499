"""Assistants and their versions in SQLite."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from threadloom.codec import to_json
from threadloom.storage.assistants import SORTED_BY, AssistantQuery
from threadloom.storage.named import bound, load
from threadloom.storage.rows import ASSISTANT
from threadloom.storage.sqlite.filters import condition
from threadloom.types import Assistant

SQL = load(__package__, "assistants.sql")

ORDER = {**SORTED_BY, "name": "casefold(name)"}


class SqliteAssistants:
    """See `storage.assistants.Assistants`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def insert(self, assistant: Assistant) -> bool:
        row = ASSISTANT.row(assistant)
        if self._connection.execute(*bound(SQL["insert"], row)).rowcount == 0:
            return False
        self._connection.execute(*bound(SQL["insert_version"], row))
        return True

    async def get(self, assistant_id: str) -> Assistant | None:
        return self._one("get", assistant_id)

    async def lock(self, assistant_id: str) -> None:
        """Does nothing: there is one writer."""

    async def add_version(self, assistant: Assistant) -> Assistant:
        row = ASSISTANT.row(assistant)
        (row["version"],) = self._connection.execute(*bound(SQL["add_version"], row)).fetchone()
        self._connection.execute(*bound(SQL["update"], row))
        stored = await self.get(assistant.assistant_id)
        assert stored is not None
        return stored

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        wanted = {"assistant_id": assistant_id, "metadata": _filter(metadata), "limit": limit, "offset": offset}
        return [ASSISTANT.read(row) for row in self._connection.execute(SQL["versions"], wanted)]

    async def version(self, assistant_id: str, number: int) -> Assistant | None:
        return self._one("version", assistant_id, number)

    async def set_current(self, assistant: Assistant) -> None:
        self._connection.execute(*bound(SQL["update"], ASSISTANT.row(assistant)))

    async def restate(self, assistant: Assistant) -> None:
        row = ASSISTANT.row(assistant)
        self._connection.execute(*bound(SQL["restate_version"], row))
        self._connection.execute(*bound(SQL["restate_current"], row))

    async def delete(self, assistant_id: str) -> bool:
        self._connection.execute(SQL["delete_versions"], (assistant_id,))
        return self._connection.execute(SQL["delete"], (assistant_id,)).rowcount > 0

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        direction = "DESC" if query.descending else "ASC"
        order = f"ORDER BY {ORDER[query.sort_by]} {direction}, seq {direction} LIMIT :limit OFFSET :offset"
        where, wanted = _filters(query)
        wanted |= {"limit": query.limit, "offset": query.offset}
        return [ASSISTANT.read(row) for row in self._connection.execute(f"{SQL['search']}{where}\n{order}", wanted)]

    async def count(self, query: AssistantQuery) -> int:
        where, wanted = _filters(query)
        count: int = self._connection.execute(SQL["count"] + where, wanted).fetchone()[0]
        return count

    def _one(self, name: str, *arguments: str | int) -> Assistant | None:
        row = self._connection.execute(SQL[name], arguments).fetchone()
        return None if row is None else ASSISTANT.read(row)


def _filter(metadata: Mapping[str, Any] | None) -> str | None:
    """Returns the filter as JSON, or None for an empty filter, which then need not be evaluated for each row."""
    return to_json(metadata).decode() if metadata else None


def _filters(query: AssistantQuery) -> tuple[str, dict[str, Any]]:
    """Returns the caller's filter as a further condition, and the values of all filters."""
    where, values = ("", {}) if query.where is None else condition(query.where, "metadata")
    return (where and f" AND {where}"), values | {
        "graphs": None if query.graphs is None else to_json(list(query.graphs)).decode(),
        "graph_id": query.graph_id,
        "name": query.name or None,
        "metadata": _filter(query.metadata),
    }
