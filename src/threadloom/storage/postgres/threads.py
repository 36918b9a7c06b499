"""Thread records in PostgreSQL. The state of a thread is a row of `states`, which copies share until one of them changes."""

from collections.abc import Mapping
from typing import Any

from threadloom.codec import to_json
from threadloom.storage.containment import certain_texts
from threadloom.storage.filters import Filter
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import texts
from threadloom.storage.postgres.documents import escaped, searchable
from threadloom.storage.postgres.filters import Arguments, Literals, condition
from threadloom.storage.postgres.session import Session, bound
from threadloom.storage.rows import THREAD, json_text, ttl_columns, ttl_of
from threadloom.storage.threads import (
    MOST_ANCESTORS,
    RELATIVES,
    Relative,
    ThreadQuery,
    direct_copies,
    relative,
    search,
    tree,
)
from threadloom.types import ForkedFrom, Thread, ThreadStatus, Ttl

SQL = load(__package__, "threads.sql")


class PostgresThreads:
    """See `storage.threads.Threads`."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        if fresh:
            self._db.holds([thread.thread_id])  # no other transaction can know the new ids, and a batch creates many
        else:
            await self._db.lock_thread(thread.thread_id)
        more = {"search": searchable(thread.metadata)} | _source(thread)
        made = await self._db.fetchval(*bound(SQL["insert"], THREAD.row(thread) | more))
        return bool(made)

    async def insert_copies(self, record: Thread, metadata: Mapping[str, Mapping[str, Any]], *, state_of: str) -> None:
        self._db.holds(metadata)
        more = {
            "thread_ids": texts(metadata),
            "documents": [json_text(one) for one in metadata.values()],
            "searches": [searchable(one) for one in metadata.values()],
            "state_of": state_of,
        }
        await self._db.execute(*bound(SQL["insert_copies"], THREAD.row(record) | more | _source(record)))

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        await self._db.lock_thread(thread_id)
        row = await self._db.fetchrow(SQL["get" if with_state else "get_plain"], thread_id)
        return None if row is None else THREAD.read(row)

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
            SQL["update"],
            thread_id,
            updated_at,
            state_updated_at,
            json_text(metadata),
            search,
            status,
            json_text(config),
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
        await self._db.execute(SQL["set_state"], thread_id, values_json, interrupts_json, json_text(error))

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None:
        await self._db.lock_thread(thread_id)
        await self._db.execute(SQL["set_error"], thread_id, json_text(error))

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None:
        await self._db.lock_thread(thread_id)
        await self._db.execute(SQL["set_ttl"], thread_id, *ttl_columns(ttl))

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
        return None if row is None else ttl_of(*row)

    async def copies(self, thread_id: str) -> list[str]:
        return [row[0] for row in await self._db.fetch(SQL["copies"], thread_id)]

    async def ancestors(self, thread_id: str) -> list[Relative]:
        return await self._relatives("ancestors", thread_id, MOST_ANCESTORS)

    async def family(self, thread_id: str, limit: int) -> list[Relative]:
        return await self._relatives("family", thread_id, limit)

    async def _relatives(self, query: str, thread_id: str, limit: int) -> list[Relative]:
        rows = await self._db.fetch(*bound(RELATIVES[query], {"thread_id": thread_id, "most": limit}))
        return [relative(row) for row in rows]

    async def of_one_tree(self, thread_id: str, other: str) -> bool:
        return bool(await self._db.fetchval(SQL["of_one_tree"], thread_id, other))

    async def direct_copies(self, thread_id: str, limit: int) -> list[tuple[str, str | None]]:
        return [(row[0], row[1]) for row in await self._db.fetch(SQL["direct_copies"], thread_id, limit)]

    async def search(self, query: ThreadQuery) -> list[Thread]:
        literals = Literals()
        where = _where(query, literals)
        page = f"LIMIT {literals.put(query.limit)} OFFSET {literals.put(query.offset)}"
        return [THREAD.read(row) for row in await self._db.fetch(search(query, where, page))]

    async def count(self, query: ThreadQuery) -> int:
        literals = Literals()
        where = _where(query, literals)
        count: int = await self._db.fetchval(f"SELECT count(*) FROM threads t {where}")
        return count

    async def newest_change(self) -> int | None:
        newest: int | None = await self._db.fetchval(SQL["newest_change"])
        return newest

    async def expired(self, now: int, limit: int) -> list[Thread]:
        return [THREAD.read(row) for row in await self._db.fetch(SQL["expired"], now, limit)]


def _source(thread: Thread) -> dict[str, Any]:
    """Returns the parameters that say what a thread was copied from."""
    source = thread.forked_from or ForkedFrom(thread_id="", checkpoint_id=None, at=0)
    return {
        "source": source.thread_id,
        "checkpoint_id": source.checkpoint_id,
        "at": source.at,
        "user_id": source.user_id,
    }


def _where(query: ThreadQuery, arguments: Arguments) -> str:
    """Returns the filters of a query as SQL; their values are added to `arguments`."""
    conditions: list[str] = []
    if query.ids:
        conditions.append(f"t.thread_id = ANY({arguments.put(list(query.ids))}::text[])")
    # Arrays, so that the plan is always to look these few threads up.
    if query.forked_from is not None:
        conditions.append(f"t.seq = ANY(ARRAY({direct_copies(arguments.put(query.forked_from))}))")
    if query.tree_of is not None:
        conditions.append(f"t.seq = ANY(ARRAY({tree(arguments.put(query.tree_of))}))")
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
    """Returns SQL for whether a state contains `values`. It searches the text first, then the document."""
    likely = [f'position({arguments.put(part.encode())}::bytea IN s."values") > 0' for part in certain_texts(values)]
    wanted = arguments.json(escaped(to_json(values)).decode())
    return " AND ".join([*likely, f'tl_document(s."values") @> {wanted}'])
