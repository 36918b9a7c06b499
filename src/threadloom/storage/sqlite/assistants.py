"""Assistants and their versions in SQLite."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from threadloom.codec import to_json
from threadloom.storage.assistants import AssistantQuery
from threadloom.storage.named import load
from threadloom.storage.sqlite.filters import condition
from threadloom.types import Assistant

SQL = load(__package__, "assistants.sql")

ORDER = {
    "assistant_id": "assistant_id",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "name": "casefold(name)",
    "graph_id": "graph_id",
}
"""What each `sort_by` sorts by. Ties keep the order of making."""


class SqliteAssistants:
    """See `storage.assistants.Assistants`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def insert(self, assistant: Assistant) -> bool:
        row = _to_row(assistant)
        if self._connection.execute(SQL["insert"], row).rowcount == 0:
            return False
        self._connection.execute(SQL["insert_version"], row)
        return True

    async def get(self, assistant_id: str) -> Assistant | None:
        return self._one("get", assistant_id)

    async def lock(self, assistant_id: str) -> None:
        """Whoever writes is alone."""

    async def add_version(self, assistant: Assistant) -> Assistant:
        (number,) = self._connection.execute(SQL["next_version"], (assistant.assistant_id,)).fetchone()
        row = _to_row(assistant) | {"version": number}
        self._connection.execute(SQL["insert_version"], row)
        self._connection.execute(SQL["update"], row)
        stored = await self.get(assistant.assistant_id)
        assert stored is not None
        return stored

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        wanted = {"assistant_id": assistant_id, "metadata": _filter(metadata), "limit": limit, "offset": offset}
        return [_from_row(row) for row in self._connection.execute(SQL["versions"], wanted)]

    async def version(self, assistant_id: str, number: int) -> Assistant | None:
        return self._one("version", assistant_id, number)

    async def set_current(self, assistant: Assistant) -> None:
        self._connection.execute(SQL["update"], _to_row(assistant))

    async def restate(self, assistant: Assistant) -> None:
        row = _to_row(assistant)
        self._connection.execute(SQL["restate_version"], row)
        self._connection.execute(SQL["restate_current"], row)

    async def delete(self, assistant_id: str) -> bool:
        self._connection.execute(SQL["delete_versions"], (assistant_id,))
        return self._connection.execute(SQL["delete"], (assistant_id,)).rowcount > 0

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        direction = "DESC" if query.descending else "ASC"
        order = f"ORDER BY {ORDER[query.sort_by]} {direction}, seq {direction} LIMIT :limit OFFSET :offset"
        where, wanted = _filters(query)
        wanted |= {"limit": query.limit, "offset": query.offset}
        return [_from_row(row) for row in self._connection.execute(f"{SQL['search']}{where}\n{order}", wanted)]

    async def count(self, query: AssistantQuery) -> int:
        where, wanted = _filters(query)
        count: int = self._connection.execute(SQL["count"] + where, wanted).fetchone()[0]
        return count

    def _one(self, name: str, *arguments: str | int) -> Assistant | None:
        row = self._connection.execute(SQL[name], arguments).fetchone()
        return None if row is None else _from_row(row)


def _to_row(assistant: Assistant) -> dict[str, Any]:
    return {
        "assistant_id": assistant.assistant_id,
        "graph_id": assistant.graph_id,
        "version": assistant.version,
        "created_at": assistant.created_at,
        "updated_at": assistant.updated_at,
        "name": assistant.name,
        "description": assistant.description,
        "config": to_json(assistant.config).decode(),
        "context": to_json(assistant.context).decode(),
        "metadata": to_json(assistant.metadata).decode(),
    }


def _from_row(row: Sequence[Any]) -> Assistant:
    return Assistant(
        assistant_id=row[0],
        graph_id=row[1],
        version=row[2],
        created_at=row[3],
        updated_at=row[4],
        name=row[5],
        description=row[6],
        config=orjson.loads(row[7]),
        context=orjson.loads(row[8]),
        metadata=orjson.loads(row[9]),
    )


def _filter(metadata: Mapping[str, Any] | None) -> str | None:
    """An empty filter lets everything through and need not be asked of each row."""
    return to_json(metadata).decode() if metadata else None


def _filters(query: AssistantQuery) -> tuple[str, dict[str, Any]]:
    """What the caller may see, as a further condition, and the values of all filters."""
    where, values = ("", {}) if query.where is None else condition(query.where, "metadata")
    return (where and f" AND {where}"), values | {
        "graphs": None if query.graphs is None else to_json(list(query.graphs)).decode(),
        "graph_id": query.graph_id,
        "name": query.name or None,
        "metadata": _filter(query.metadata),
    }
