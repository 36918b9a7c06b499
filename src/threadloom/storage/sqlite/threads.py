"""Thread records in SQLite. What a thread shows of its state is a row of `states`, which copies share until they part."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from threadloom.codec import to_json
from threadloom.storage.containment import certain_texts
from threadloom.storage.filters import Filter
from threadloom.storage.named import load
from threadloom.storage.sqlite.filters import condition
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


class SqliteThreads:
    """See `storage.threads.Threads`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        ttl = thread.ttl
        row = (
            thread.thread_id,
            thread.created_at,
            thread.updated_at,
            thread.state_updated_at,
            _text(thread.metadata),
            thread.status,
            _text(thread.config),
            _text(thread.error),
            ttl and ttl.minutes,
            ttl and ttl.strategy,
            ttl and ttl.expires_at,
            _fork(thread.forked_from),
            thread.forked_from and thread.forked_from.thread_id,
            thread.priority,
        )
        if self._connection.execute(SQL["insert"], row).rowcount == 0:
            return False
        if thread.values_json is not None or thread.interrupts_json is not None:
            self._show_new(thread.thread_id, thread.values_json, thread.interrupts_json, thread.error)
        return True

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        row = self._connection.execute(SQL["get" if with_state else "get_plain"], (thread_id,)).fetchone()
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
        given = {
            "updated_at = ?": updated_at,
            "state_updated_at = ?": state_updated_at,
            "metadata = ?": _text(metadata),
            "status = ?": status,
            "config = ?": _text(config),
        }
        # Only what is given: SQLite writes the index of every column that is named, changed or not.
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
        self._connection.execute(SQL["set_error"], (thread_id, _text(error)))

    async def share_state(self, source: str, target: str) -> None:
        found = self._connection.execute(SQL["state_in_use"], (target,)).fetchone()
        self._connection.execute(SQL["share_state"], (source, target))
        if found is not None and found[0] is not None:
            self._connection.execute(SQL["drop_state"], (found[0],))

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None:
        values = (None, None, None) if ttl is None else (ttl.minutes, ttl.strategy, ttl.expires_at)
        self._connection.execute(SQL["set_ttl"], (thread_id, *values))

    async def set_priority(self, thread_id: str, priority: int) -> None:
        self._connection.execute(SQL["set_priority"], (thread_id, priority))

    async def delete(self, thread_id: str) -> bool:
        row = self._connection.execute(SQL["delete"], (thread_id,)).fetchone()
        if row is None:
            return False
        state_id, source = row
        self._connection.execute(SQL["hand_on_copies"], (thread_id, source))
        if state_id is not None:
            self._connection.execute(SQL["drop_state"], (state_id,))
        return True

    async def permitted(self, thread_id: str, where: Filter | None) -> bool:
        return bool(await self.count(ThreadQuery(ids=[thread_id], where=where)))

    async def ttl(self, thread_id: str) -> Ttl | None:
        row = self._connection.execute(SQL["ttl"], (thread_id,)).fetchone()
        return None if row is None or row[2] is None else Ttl(minutes=row[0], strategy=row[1], expires_at=row[2])

    async def copies(self, thread_id: str) -> list[str]:
        return [copy for (copy,) in self._connection.execute(SQL["copies"], (thread_id,))]

    async def search(self, query: ThreadQuery) -> list[Thread]:
        where, arguments = _where(query)
        direction = "DESC" if query.descending else "ASC"
        order = f"ORDER BY {ORDER[query.sort_by]} {direction}, t.seq"
        # Rows are chosen by number first, so that sorting moves no documents about.
        chosen = f"SELECT t.seq AS seq FROM threads t {where} {order} LIMIT :limit OFFSET :offset"
        state = 's."values", s.interrupts' if query.with_state else "NULL, NULL"
        join = "LEFT JOIN states s ON s.id = t.state_id" if query.with_state else ""
        sql = (
            "SELECT t.thread_id, t.created_at, t.updated_at, t.state_updated_at, t.metadata, t.status, t.config, t.error,"
            f" t.ttl_minutes, t.ttl_strategy, t.expires_at, t.forked_from, {state}, t.priority"
            f" FROM ({chosen}) c JOIN threads t ON t.seq = c.seq {join} {order}"
        )
        arguments |= {"limit": query.limit, "offset": query.offset}
        return [_thread(row) for row in self._connection.execute(sql, arguments)]

    async def count(self, query: ThreadQuery) -> int:
        where, arguments = _where(query)
        count: int = self._connection.execute(f"SELECT count(*) FROM threads t {where}", arguments).fetchone()[0]
        return count

    async def newest_change(self) -> int | None:
        newest: int | None = self._connection.execute(SQL["newest_change"]).fetchone()[0]
        return newest

    async def expired(self, now: int, limit: int) -> list[Thread]:
        return [_thread(row) for row in self._connection.execute(SQL["expired"], (now, limit))]

    def _show_new(
        self,
        thread_id: str,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        state_id = self._connection.execute(SQL["insert_state"], (values_json, interrupts_json)).lastrowid
        self._connection.execute(SQL["show_state"], (thread_id, state_id, _text(error)))


def _text(value: Any) -> str | None:
    return None if value is None else to_json(value).decode()


def _fork(forked_from: ForkedFrom | None) -> str | None:
    return None if forked_from is None else _text(msgspec.structs.asdict(forked_from))


def _thread(row: Sequence[Any]) -> Thread:
    forked_from = None if row[11] is None else ForkedFrom(**orjson.loads(row[11]))
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
        forked_from=forked_from,
        values_json=row[12],
        interrupts_json=row[13],
        priority=row[14],
    )


def _where(query: ThreadQuery) -> tuple[str, dict[str, Any]]:
    """The filters of a query as SQL and its arguments: what an index answers first, what reads documents last."""
    conditions: list[str] = []
    arguments: dict[str, Any] = {}
    if query.ids:
        conditions.append("t.thread_id IN (SELECT value FROM json_each(:ids))")
        arguments["ids"] = _text(list(query.ids))
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
        arguments["metadata"] = _text(query.metadata)
    if query.values:
        shown = 'SELECT s."values" FROM states s WHERE s.id = t.state_id'
        conditions.append(f"contains(({shown}), :values)")
        arguments["values"] = _text(query.values)
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), arguments
