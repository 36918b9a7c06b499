"""Thread records in PostgreSQL. What a thread shows of its state is a row of `states`, which copies share until they part."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from threadloom.codec import to_json
from threadloom.storage.containment import certain_texts
from threadloom.storage.filters import Filter
from threadloom.storage.named import load
from threadloom.storage.postgres.documents import escaped, searchable, text
from threadloom.storage.postgres.filters import Arguments, Literals, condition
from threadloom.storage.postgres.session import Session
from threadloom.storage.threads import ThreadQuery
from threadloom.types import ForkedFrom, Thread, ThreadStatus, Ttl

SQL = load(__package__, "threads.sql")

ORDER = {
    "thread_id": "t.thread_id",
    "status": "t.status",
    "created_at": "t.created_at",
    "updated_at": "t.updated_at",
    "state_updated_at": "t.state_updated_at",
}
"""What each `sort_by` sorts by. Ties keep the order of making."""


class PostgresThreads:
    """See `storage.threads.Threads`."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        if fresh:
            self._db.holds([thread.thread_id])  # from whom should it be kept? A batch makes very many
        else:
            await self._db.lock_thread(thread.thread_id)
        ttl = thread.ttl
        made = await self._db.fetchval(
            SQL["insert"],
            thread.thread_id,
            thread.created_at,
            thread.updated_at,
            thread.state_updated_at,
            text(thread.metadata),
            searchable(thread.metadata),
            thread.status,
            text(thread.config),
            text(thread.error),
            ttl and ttl.minutes,
            ttl and ttl.strategy,
            ttl and ttl.expires_at,
            _fork(thread.forked_from),
            thread.forked_from and thread.forked_from.thread_id,
            thread.values_json,
            thread.interrupts_json,
            thread.priority,
        )
        return bool(made)

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        await self._db.lock_thread(thread_id)
        row = await self._db.fetchrow(SQL["get" if with_state else "get_plain"], thread_id)
        return None if row is None else _thread(row)

    async def update(
        self,
        thread_id: str,
        *,
        updated_at: int | None = None,
        state_updated_at: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        status: ThreadStatus | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        await self._db.lock_thread(thread_id)
        search = None if metadata is None else searchable(metadata)
        await self._db.execute(
            SQL["update"], thread_id, updated_at, state_updated_at, text(metadata), search, status, text(config)
        )

    async def set_state(
        self,
        thread_id: str,
        *,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        await self._db.lock_thread(thread_id)
        await self._db.execute(SQL["set_state"], thread_id, values_json, interrupts_json, text(error))

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None:
        await self._db.lock_thread(thread_id)
        await self._db.execute(SQL["set_error"], thread_id, text(error))

    async def share_state(self, source: str, target: str) -> None:
        await self._db.lock_thread(source)
        await self._db.lock_thread(target)
        await self._db.execute(SQL["share_state"], source, target)

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None:
        await self._db.lock_thread(thread_id)
        values = (None, None, None) if ttl is None else (ttl.minutes, ttl.strategy, ttl.expires_at)
        await self._db.execute(SQL["set_ttl"], thread_id, *values)

    async def set_priority(self, thread_id: str, priority: int) -> None:
        await self._db.lock_thread(thread_id)
        await self._db.execute(SQL["set_priority"], thread_id, priority)

    async def delete(self, thread_id: str) -> bool:
        await self._db.lock_thread(thread_id)
        return bool(await self._db.fetchval(SQL["delete"], thread_id))

    async def permitted(self, thread_id: str, where: Filter | None) -> bool:
        await self._db.lock_thread(thread_id)
        return bool(await self.count(ThreadQuery(ids=[thread_id], where=where)))

    async def ttl(self, thread_id: str) -> Ttl | None:
        await self._db.lock_thread(thread_id)
        row = await self._db.fetchrow(SQL["ttl"], thread_id)
        return None if row is None or row[2] is None else Ttl(minutes=row[0], strategy=row[1], expires_at=row[2])

    async def copies(self, thread_id: str) -> list[str]:
        return [row[0] for row in await self._db.fetch(SQL["copies"], thread_id)]

    async def search(self, query: ThreadQuery) -> list[Thread]:
        literals = Literals()
        where = _where(query, literals)
        direction = "DESC" if query.descending else "ASC"
        order = f"ORDER BY {ORDER[query.sort_by]} {direction}, t.seq"
        page = f"LIMIT {literals.put(query.limit)} OFFSET {literals.put(query.offset)}"
        state = 's."values", s.interrupts' if query.with_state else "NULL, NULL"
        join = "LEFT JOIN states s ON s.id = t.state_id" if query.with_state else ""
        # Rows are chosen by number first, so that sorting moves no documents about.
        sql = (
            "SELECT t.thread_id, t.created_at, t.updated_at, t.state_updated_at, t.metadata, t.status, t.config, t.error,"
            f" t.ttl_minutes, t.ttl_strategy, t.expires_at, t.forked_from, {state}, t.priority"
            f" FROM (SELECT t.seq FROM threads t {where} {order} {page}) c JOIN threads t ON t.seq = c.seq {join} {order}"
        )
        return [_thread(row) for row in await self._db.fetch(sql)]

    async def count(self, query: ThreadQuery) -> int:
        literals = Literals()
        where = _where(query, literals)
        count: int = await self._db.fetchval(f"SELECT count(*) FROM threads t {where}")
        return count

    async def newest_change(self) -> int | None:
        newest: int | None = await self._db.fetchval(SQL["newest_change"])
        return newest

    async def expired(self, now: int, limit: int) -> list[Thread]:
        return [_thread(row) for row in await self._db.fetch(SQL["expired"], now, limit)]


def _fork(forked_from: ForkedFrom | None) -> str | None:
    return None if forked_from is None else text(msgspec.structs.asdict(forked_from))


def _thread(row: Sequence[Any]) -> Thread:
    return Thread(
        thread_id=row[0],
        created_at=row[1],
        updated_at=row[2],
        state_updated_at=row[3],
        metadata=orjson.loads(row[4]),
        status=row[5],
        config=orjson.loads(row[6]),
        error=None if row[7] is None else orjson.loads(row[7]),
        ttl=None if row[10] is None else Ttl(minutes=row[8], strategy=row[9], expires_at=row[10]),
        forked_from=None if row[11] is None else ForkedFrom(**orjson.loads(row[11])),
        values_json=row[12],
        interrupts_json=row[13],
        priority=row[14],
    )


def _where(query: ThreadQuery, arguments: Arguments) -> str:
    """The filters of a query as SQL; their values are added to `arguments`."""
    conditions: list[str] = []
    if query.ids:
        conditions.append(f"t.thread_id = ANY({arguments.put(list(query.ids))}::text[])")
    if query.status is not None:
        conditions.append(f"t.status = {arguments.put(query.status)}")
    if query.where is not None:
        conditions.append(condition(query.where, "t.search", arguments))
    if query.metadata:
        conditions.append(f"t.search @> {arguments.json(searchable(query.metadata))}")
    if query.values:
        conditions.append(
            f"EXISTS (SELECT 1 FROM states s WHERE s.id = t.state_id AND {_shown(query.values, arguments)})"
        )
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _shown(values: Mapping[str, Any], arguments: Arguments) -> str:
    """Whether a state contains `values`: first whether its text can, then the document."""
    likely = [f'position({arguments.put(part.encode())}::bytea IN s."values") > 0' for part in certain_texts(values)]
    wanted = arguments.json(escaped(to_json(values)).decode())
    return " AND ".join([*likely, f'tl_document(s."values") @> {wanted}'])
