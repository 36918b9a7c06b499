"""Deliveries in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from threadloom.storage.deliveries import DeliveryQuery
from threadloom.storage.named import load
from threadloom.storage.postgres.documents import text
from threadloom.storage.postgres.filters import Arguments, condition
from threadloom.storage.postgres.session import Session
from threadloom.types import Delivery

SQL = load(__package__, "deliveries.sql")

COLUMNS = (
    "delivery_id, run_id, thread_id, url, ''::bytea AS body, status, due, worker, claims, tries_left, tries, created_at,"
    " updated_at, expires_at, host"
)
"""A row without its body."""


class PostgresDeliveries:
    """See `storage.deliveries.Deliveries`."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def insert(self, delivery: Delivery) -> None:
        await self._db.execute(
            SQL["insert"],
            delivery.delivery_id,
            delivery.run_id,
            delivery.thread_id,
            delivery.url,
            delivery.body_json,
            delivery.status,
            delivery.due,
            delivery.worker,
            delivery.claims,
            delivery.tries_left,
            text(delivery.tries),
            delivery.created_at,
            delivery.updated_at,
            delivery.expires_at,
            delivery.host,
        )

    async def get(self, delivery_id: str) -> Delivery | None:
        return await self._one("get", delivery_id)

    async def next_due(self, passed: Sequence[str] = ()) -> int | None:
        asked = (
            self._db.fetchval(SQL["next_due_beside"], list(passed)) if passed else self._db.fetchval(SQL["next_due"])
        )
        due: int | None = await asked
        return due

    async def claim(self, worker: str, now: int, until: int, limit: int, passed: Sequence[str] = ()) -> list[Delivery]:
        values: tuple[Any, ...] = (worker, now, until, limit)
        name, values = ("claim_beside", (*values, list(passed))) if passed else ("claim", values)
        return [_delivery(row) for row in await self._db.fetch(SQL[name], *values)]

    async def note(self, delivery: Delivery) -> bool:
        noted = await self._db.fetchval(
            SQL["note"],
            delivery.delivery_id,
            delivery.claims,
            delivery.status,
            delivery.due,
            delivery.tries_left,
            text(delivery.tries),
            delivery.updated_at,
            delivery.expires_at,
        )
        return bool(noted)

    async def again(self, delivery_id: str, now: int, left: int) -> Delivery | None:
        return await self._one("again", delivery_id, now, left)

    async def release(self, now: int) -> None:
        await self._db.execute(SQL["release"], now)

    async def due_anew(self, now: int, ahead: int, until: int) -> None:
        await self._db.execute(SQL["due_anew"], now, ahead, until)

    async def delete_of_run(self, run_id: str, now: int) -> None:
        await self._db.execute(SQL["delete_of_run"], run_id, now)

    async def delete_of_thread(self, thread_id: str, now: int) -> None:
        await self._db.execute(SQL["delete_of_thread"], thread_id, now)

    async def drop_expired(self, now: int) -> int:
        number: int = await self._db.fetchval(SQL["drop_expired"], now)
        return number

    async def search(self, query: DeliveryQuery) -> list[Delivery]:
        arguments = Arguments()
        where = _where(query, arguments)
        page = f"LIMIT {arguments.put(query.limit)} OFFSET {arguments.put(query.offset)}"
        sql = f"SELECT {COLUMNS} FROM deliveries {where} ORDER BY seq DESC {page}"
        return [_delivery(row) for row in await self._db.fetch(sql, *arguments)]

    async def count(self, query: DeliveryQuery) -> int:
        arguments = Arguments()
        where = _where(query, arguments)
        count: int = await self._db.fetchval(f"SELECT count(*) FROM deliveries {where}", *arguments)
        return count

    async def _one(self, name: str, *values: Any) -> Delivery | None:
        row = await self._db.fetchrow(SQL[name], *values)
        return None if row is None else _delivery(row)


def _where(query: DeliveryQuery, arguments: Arguments) -> str:
    """The filters of a query as SQL; their values are added to `arguments`."""
    wanted = {"run_id": query.run_id, "thread_id": query.thread_id, "status": query.status}
    conditions = [f"{name} = {arguments.put(value)}" for name, value in wanted.items() if value is not None]
    if query.threads is not None:
        seen = condition(query.threads, "t.search", arguments)
        conditions.append(f"EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = deliveries.thread_id AND {seen})")
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _delivery(row: Mapping[str, Any]) -> Delivery:
    return Delivery(
        delivery_id=row["delivery_id"],
        run_id=row["run_id"],
        thread_id=row["thread_id"],
        url=row["url"],
        body_json=row["body"],
        status=row["status"],
        due=row["due"],
        worker=row["worker"],
        claims=row["claims"],
        tries_left=row["tries_left"],
        tries=orjson.loads(row["tries"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        expires_at=row["expires_at"],
        host=row["host"],
    )
