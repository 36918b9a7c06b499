"""Thread records in SQLite. The state of a thread is a row of `states`, which copies share until one of them changes."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from threadloom.storage.containment import certain_texts
from threadloom.storage.filters import Filter
from threadloom.storage.named import bound, load
from threadloom.storage.rows import THREAD, json_text, ttl_columns, ttl_of
from threadloom.storage.sqlite.filters import condition
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


class SqliteThreads:
    """See `storage.threads.Threads`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        if self._connection.execute(*bound(SQL["insert"], THREAD.row(thread))).rowcount == 0:
            return False
        source = thread.forked_from
        if source and (found := self._connection.execute(SQL["origin"], (source.thread_id, "")).fetchone()):
            self._insert_forks([thread.thread_id], found[1:], source)
        if thread.values_json is not None or thread.interrupts_json is not None:
            self._show_new(thread.thread_id, thread.values_json, thread.interrupts_json, thread.error)
        return True

    async def insert_copies(self, record: Thread, metadata: Mapping[str, Mapping[str, Any]], *, state_of: str) -> None:
        source = record.forked_from
        assert source is not None
        shown, *origin = self._connection.execute(SQL["origin"], (source.thread_id, state_of)).fetchone()
        copies = json_text({thread_id: json_text(one) for thread_id, one in metadata.items()})
        row = THREAD.row(record) | {"copies": copies, "state_id": shown}
        self._connection.execute(*bound(SQL["insert_copies"], row))
        self._insert_forks(list(metadata), origin, source)

    def _insert_forks(self, thread_ids: Sequence[str], origin: Sequence[Any], source: ForkedFrom) -> None:
        values = (json_text(thread_ids), *origin, source.checkpoint_id, source.at, source.user_id)
        self._connection.execute(SQL["insert_forks"], values)

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        row = self._connection.execute(SQL["get" if with_state else "get_plain"], (thread_id,)).fetchone()
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
        given = {
            "updated_at = ?": updated_at,
            "state_updated_at = ?": state_updated_at,
            "metadata = ?": json_text(metadata),
            "status = ?": status,
            "config = ?": json_text(config),
        }
        # Only the given fields: SQLite writes the index of every column that is named, changed or not.
        changed = {column: value for column, value in given.items() if value is not None}
        if changed:
            sql = f"UPDATE threads SET {', '.join(changed)} WHERE thread_id = ?"
            self._connection.execute(sql, (*changed.values(), thread_id))

    async def set_state(
        self,
        thread_id: str,
        *,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        found = self._connection.execute(SQL["state_in_use"], (thread_id,)).fetchone()
        if found is None:
            return
        state_id, shared = found
        if state_id is None or shared:
            self._show_new(thread_id, values_json, interrupts_json, error)
        else:
            self._connection.execute(SQL["replace_state"], (state_id, values_json, interrupts_json))
            await self.set_error(thread_id, error)

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None:
        self._connection.execute(SQL["set_error"], (thread_id, json_text(error)))

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None:
        self._connection.execute(SQL["set_ttl"], (thread_id, *ttl_columns(ttl)))

    async def set_priority(self, thread_id: str, priority: int) -> None:
        self._connection.execute(SQL["set_priority"], (thread_id, priority))

    async def delete(self, thread_id: str) -> bool:
        row = self._connection.execute(SQL["delete"], (thread_id,)).fetchone()
        if row is None:
            return False
        seq, state_id = row
        while seq is not None:
            parent = self._connection.execute(SQL["drop_fork"], (seq,)).fetchone()
            seq = parent and parent[0]
        if state_id is not None:
            self._connection.execute(SQL["drop_state"], (state_id,))
        return True

    async def permitted(self, thread_id: str, where: Filter | None) -> bool:
        return bool(await self.count(ThreadQuery(ids=[thread_id], where=where)))

    async def ttl(self, thread_id: str) -> Ttl | None:
        row = self._connection.execute(SQL["ttl"], (thread_id,)).fetchone()
        return None if row is None else ttl_of(*row)

    async def copies(self, thread_id: str) -> list[str]:
        return [copy for (copy,) in self._connection.execute(SQL["copies"], (thread_id,))]

    async def ancestors(self, thread_id: str) -> list[Relative]:
        return self._relatives("ancestors", thread_id, MOST_ANCESTORS)

    async def family(self, thread_id: str, limit: int) -> list[Relative]:
        return self._relatives("family", thread_id, limit)

    def _relatives(self, query: str, thread_id: str, limit: int) -> list[Relative]:
        rows = self._connection.execute(*bound(RELATIVES[query], {"thread_id": thread_id, "most": limit}))
        return [relative(row) for row in rows]

    async def of_one_tree(self, thread_id: str, other: str) -> bool:
        return bool(self._connection.execute(SQL["of_one_tree"], (thread_id, other)).fetchone()[0])

    async def direct_copies(self, thread_id: str, limit: int) -> list[tuple[str, str | None]]:
        return self._connection.execute(SQL["direct_copies"], (thread_id, limit)).fetchall()

    async def search(self, query: ThreadQuery) -> list[Thread]:
        where, arguments = _where(query)
        arguments |= {"limit": query.limit, "offset": query.offset}
        rows = self._connection.execute(search(query, where, "LIMIT :limit OFFSET :offset"), arguments)
        return [THREAD.read(row) for row in rows]

    async def count(self, query: ThreadQuery) -> int:
        where, arguments = _where(query)
        count: int = self._connection.execute(f"SELECT count(*) FROM threads t {where}", arguments).fetchone()[0]
        return count

    async def newest_change(self) -> int | None:
        newest: int | None = self._connection.execute(SQL["newest_change"]).fetchone()[0]
        return newest

    async def expired(self, now: int, limit: int) -> list[Thread]:
        return [THREAD.read(row) for row in self._connection.execute(SQL["expired"], (now, limit))]

    def _show_new(
        self, thread_id: str, values_json: bytes | None, interrupts_json: bytes | None, error: Mapping[str, Any] | None
    ) -> None:
        state_id = self._connection.execute(SQL["insert_state"], (values_json, interrupts_json)).lastrowid
        self._connection.execute(SQL["show_state"], (thread_id, state_id, json_text(error)))


def _where(query: ThreadQuery) -> tuple[str, dict[str, Any]]:
    """Returns the filters of a query as SQL and its arguments: first the conditions that use an index, last those that read
    documents.
    """
    conditions: list[str] = []
    arguments: dict[str, Any] = {}
    if query.ids:
        conditions.append("t.thread_id IN (SELECT value FROM json_each(:ids))")
        arguments["ids"] = json_text(list(query.ids))
    if query.forked_from is not None:
        conditions.append(f"t.seq IN ({direct_copies(':forked_from')})")
        arguments["forked_from"] = query.forked_from
    if query.tree_of is not None:
        conditions.append(f"t.seq IN ({tree(':tree_of')})")
        arguments["tree_of"] = query.tree_of
    if query.status is not None:
        conditions.append("t.status = :status")
        arguments["status"] = query.status
    if query.where is not None:
        sql, values = condition(query.where, "t.metadata")
        conditions.append(sql)
        arguments |= values
    if query.metadata:
        for number, text in enumerate(certain_texts(query.metadata)):
            conditions.append(f"instr(t.metadata, :m{number}) > 0")
            arguments[f"m{number}"] = text
        conditions.append("contains(t.metadata, :metadata)")
        arguments["metadata"] = json_text(query.metadata)
    if query.values:
        shown = 'SELECT s."values" FROM states s WHERE s.id = t.state_id'
        conditions.append(f"contains(({shown}), :values)")
        arguments["values"] = json_text(query.values)
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), arguments
