"""Assistants and their versions in PostgreSQL."""

from collections.abc import Mapping
from typing import Any

from threadloom.storage.assistants import SORTED_BY, AssistantQuery
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.documents import searchable
from threadloom.storage.postgres.filters import Arguments, condition
from threadloom.storage.postgres.session import Session, bound
from threadloom.storage.rows import ASSISTANT
from threadloom.types import Assistant

SQL = load(__package__, "assistants.sql")

ORDER = {**SORTED_BY, "name": "folded"}


class PostgresAssistants:
    """See `storage.assistants.Assistants`. Methods that change an assistant first lock its row, so that changes happen one after
    the other.
    """

    def __init__(self, session: Session) -> None:
        self._db = session

    async def insert(self, assistant: Assistant) -> bool:
        return bool(await self._db.fetchval(*bound(SQL["insert"], _row(assistant))))

    async def get(self, assistant_id: str) -> Assistant | None:
        return await self._one("get", assistant_id)

    async def lock(self, assistant_id: str) -> None:
        if self._db.writes:
            await self._db.execute(SQL["lock"], assistant_id)

    async def add_version(self, assistant: Assistant) -> Assistant:
        await self.lock(assistant.assistant_id)
        return ASSISTANT.read(await self._db.fetchrow(*bound(SQL["add_version"], _row(assistant))))

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        wanted = searchable(metadata) if metadata else None
        return [
            ASSISTANT.read(row) for row in await self._db.fetch(SQL["versions"], assistant_id, wanted, limit, offset)
        ]

    async def version(self, assistant_id: str, number: int) -> Assistant | None:
        return await self._one("version", assistant_id, number)

    async def set_current(self, assistant: Assistant) -> None:
        await self._db.execute(*bound(SQL["update"], _row(assistant)))

    async def restate(self, assistant: Assistant) -> None:
        await self.lock(assistant.assistant_id)
        await self._db.execute(*bound(SQL["restate"], _row(assistant)))

    async def delete(self, assistant_id: str) -> bool:
        await self.lock(assistant_id)
        return bool(await self._db.fetchval(SQL["delete"], assistant_id))

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        arguments = Arguments()
        where = _where(query, arguments)
        direction = "DESC" if query.descending else "ASC"
        order = f"ORDER BY {ORDER[query.sort_by]} {direction}, seq {direction}"
        page = f"LIMIT {arguments.put(query.limit)} OFFSET {arguments.put(query.offset)}"
        sql = f"SELECT {ASSISTANT.columns()} FROM assistants {where} {order} {page}"
        return [ASSISTANT.read(row) for row in await self._db.fetch(sql, *arguments)]

    async def count(self, query: AssistantQuery) -> int:
        arguments = Arguments()
        where = _where(query, arguments)
        count: int = await self._db.fetchval(f"SELECT count(*) FROM assistants {where}", *arguments)
        return count

    async def _one(self, name: str, *arguments: str | int) -> Assistant | None:
        row = await self._db.fetchrow(SQL[name], *arguments)
        return None if row is None else ASSISTANT.read(row)


def _row(assistant: Assistant) -> dict[str, Any]:
    return ASSISTANT.row(assistant) | {"folded": assistant.name.casefold(), "search": searchable(assistant.metadata)}


def _where(query: AssistantQuery, arguments: Arguments) -> str:
    """Returns the filters of a query as SQL; their values are added to `arguments`."""
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
