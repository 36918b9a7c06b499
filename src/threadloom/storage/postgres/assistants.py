"""Assistants and their versions in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from threadloom.storage.assistants import AssistantQuery
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.documents import searchable, text
from threadloom.storage.postgres.filters import Arguments, condition
from threadloom.storage.postgres.session import Session
from threadloom.types import Assistant

SQL = load(__package__, "assistants.sql")

COLUMNS = "assistant_id, graph_id, version, created_at, updated_at, name, description, config, context, metadata"

ORDER = {
    "assistant_id": "assistant_id",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "name": "folded",
    "graph_id": "graph_id",
}
"""What each `sort_by` sorts by. Ties keep the order of making."""


class PostgresAssistants:
    """See `storage.assistants.Assistants`. What changes one first locks its row, so that changes happen one after the other."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def insert(self, assistant: Assistant) -> bool:
        content = _content(assistant)
        values = (assistant.assistant_id, content[0], assistant.version, assistant.created_at, *content[1:])
        return bool(await self._db.fetchval(SQL["insert"], *values))

    async def get(self, assistant_id: str) -> Assistant | None:
        return await self._one("get", assistant_id)

    async def lock(self, assistant_id: str) -> None:
        if self._db.writes:
            await self._db.execute(SQL["lock"], assistant_id)

    async def add_version(self, assistant: Assistant) -> Assistant:
        await self.lock(assistant.assistant_id)
        return _from_row(await self._db.fetchrow(SQL["add_version"], assistant.assistant_id, *_content(assistant)))

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        wanted = searchable(metadata) if metadata else None
        return [_from_row(row) for row in await self._db.fetch(SQL["versions"], assistant_id, wanted, limit, offset)]

    async def version(self, assistant_id: str, number: int) -> Assistant | None:
        return await self._one("version", assistant_id, number)

    async def set_current(self, assistant: Assistant) -> None:
        await self._db.execute(SQL["update"], assistant.assistant_id, *_content(assistant), assistant.version)

    async def restate(self, assistant: Assistant) -> None:
        await self.lock(assistant.assistant_id)
        content = (assistant.description, text(assistant.config), text(assistant.context))
        await self._db.execute(SQL["restate"], assistant.assistant_id, assistant.version, *content)

    async def delete(self, assistant_id: str) -> bool:
        await self.lock(assistant_id)
        return bool(await self._db.fetchval(SQL["delete"], assistant_id))

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        arguments = Arguments()
        where = _where(query, arguments)
        direction = "DESC" if query.descending else "ASC"
        order = f"ORDER BY {ORDER[query.sort_by]} {direction}, seq {direction}"
        page = f"LIMIT {arguments.put(query.limit)} OFFSET {arguments.put(query.offset)}"
        sql = f"SELECT {COLUMNS} FROM assistants {where} {order} {page}"
        return [_from_row(row) for row in await self._db.fetch(sql, *arguments)]

    async def count(self, query: AssistantQuery) -> int:
        arguments = Arguments()
        where = _where(query, arguments)
        count: int = await self._db.fetchval(f"SELECT count(*) FROM assistants {where}", *arguments)
        return count

    async def _one(self, name: str, *arguments: str | int) -> Assistant | None:
        row = await self._db.fetchrow(SQL[name], *arguments)
        return None if row is None else _from_row(row)


def _content(assistant: Assistant) -> tuple[Any, ...]:
    """What a version holds, with when it was made."""
    return (
        assistant.graph_id,
        assistant.updated_at,
        assistant.name,
        assistant.name.casefold(),
        assistant.description,
        text(assistant.config),
        text(assistant.context),
        text(assistant.metadata),
        searchable(assistant.metadata),
    )


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


def _where(query: AssistantQuery, arguments: Arguments) -> str:
    """The filters of a query as SQL; their values are added to `arguments`."""
    conditions: list[str] = []
    if query.where is not None:
        conditions.append(condition(query.where, "search", arguments))
    if query.graphs is not None:
        conditions.append(f"graph_id = ANY({arguments.put([escaped(graph) for graph in query.graphs])}::text[])")
    if query.graph_id is not None:
        conditions.append(f"graph_id = {arguments.put(query.graph_id)}")
    if query.name:
        conditions.append(f"position({arguments.put(query.name.casefold())}::text IN folded) > 0")
    if query.metadata:
        conditions.append(f"search @> {arguments.json(searchable(query.metadata))}")
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""
