"""Deliveries in SQLite."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from threadloom.codec import to_json
from threadloom.storage.deliveries import DeliveryQuery
from threadloom.storage.named import bound, load
from threadloom.storage.rows import DELIVERY
from threadloom.storage.sqlite.filters import condition
from threadloom.types import Delivery

SQL = load(__package__, "deliveries.sql")


class SqliteDeliveries:
    """See `storage.deliveries.Deliveries`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def insert(self, delivery: Delivery) -> None:
        self._connection.execute(*bound(SQL["insert"], DELIVERY.row(delivery)))

    async def get(self, delivery_id: str) -> Delivery | None:
        return self._one("get", (delivery_id,))

    async def next_due(self, passed: Sequence[str] = ()) -> int | None:
        name, values = ("next_due_beside", (_list(passed),)) if passed else ("next_due", ())
        due: int | None = self._connection.execute(SQL[name], values).fetchone()[0]
        return due

    async def claim(self, worker: str, now: int, until: int, limit: int, passed: Sequence[str] = ()) -> list[Delivery]:
        name, values = ("due_beside", (now, limit, _list(passed))) if passed else ("due", (now, limit))
        due = self._connection.execute(SQL[name], values).fetchall()
        claimed = [self._one("claim", (delivery_id, worker, until)) for (delivery_id,) in due]
        return [delivery for delivery in claimed if delivery is not None]

    async def note(self, delivery: Delivery) -> bool:
        return self._connection.execute(*bound(SQL["note"], DELIVERY.row(delivery))).rowcount > 0

    async def again(self, delivery_id: str, now: int, left: int) -> Delivery | None:
        return self._one("again", (delivery_id, now, left))

    async def release(self, now: int) -> None:
        self._connection.execute(SQL["release"], (now,))

    async def recompute_due(self, now: int, ahead: int, until: int) -> None:
        self._connection.execute(SQL["recompute_due"], (now, ahead, until))

    async def delete_of_run(self, run_id: str, now: int) -> None:
        self._connection.execute(SQL["delete_of_run"], (run_id,))
        self._connection.execute(SQL["expire_of_run"], (run_id, now))

    async def delete_of_thread(self, thread_id: str, now: int) -> None:
        self._connection.execute(SQL["delete_of_thread"], (thread_id,))
        self._connection.execute(SQL["expire_of_thread"], (thread_id, now))

    async def delete_expired(self, now: int) -> int:
        return self._connection.execute(SQL["delete_expired"], (now,)).rowcount

    async def search(self, query: DeliveryQuery) -> list[Delivery]:
        where, values = _filters(query)
        values |= {"limit": query.limit, "offset": query.offset}
        sql = f"{SQL['search']}{where}\nORDER BY seq DESC LIMIT :limit OFFSET :offset"
        return [DELIVERY.read(row) for row in self._connection.execute(sql, values)]

    async def count(self, query: DeliveryQuery) -> int:
        where, values = _filters(query)
        count: int = self._connection.execute(SQL["count"] + where, values).fetchone()[0]
        return count

    def _one(self, name: str, values: tuple[Any, ...]) -> Delivery | None:
        row = self._connection.execute(SQL[name], values).fetchone()
        return None if row is None else DELIVERY.read(row)


def _filters(query: DeliveryQuery) -> tuple[str, dict[str, Any]]:
    """Returns a clause for the filters that are set, and its values, so that an index can be used."""
    wanted = {"run_id": query.run_id, "thread_id": query.thread_id, "status": query.status}
    values: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    conditions = [f"{name} = :{name}" for name in values]
    if query.threads is not None:
        sql, seen = condition(query.threads, "t.metadata")
        conditions.append(f"EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = deliveries.thread_id AND {sql})")
        values |= seen
    return (f"\nWHERE {' AND '.join(conditions)}" if conditions else ""), values


def _list(hosts: Sequence[str]) -> str:
    return to_json(list(hosts)).decode()
