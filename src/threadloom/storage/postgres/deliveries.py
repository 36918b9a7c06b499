"""Deliveries in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from threadloom.storage.deliveries import DeliveryQuery
from threadloom.storage.named import load
from threadloom.storage.postgres.filters import Arguments, condition
from threadloom.storage.postgres.session import Session, bound
from threadloom.storage.rows import DELIVERY, WITHOUT_BODY
from threadloom.types import Delivery

SQL = load(__package__, "deliveries.sql")


class PostgresDeliveries:
    """See `storage.deliveries.Deliveries`."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def insert(self, delivery: Delivery) -> None:
        await self._db.execute(*bound(SQL["insert"], DELIVERY.row(delivery)))

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
        return [DELIVERY.read(row) for row in await self._db.fetch(SQL[name], *values)]

    async def note(self, delivery: Delivery) -> bool:
        return bool(await self._db.fetchval(*bound(SQL["note"], DELIVERY.row(delivery))))

    async def again(self, delivery_id: str, now: int, left: int) -> Delivery | None:
        return await self._one("again", delivery_id, now, left)

    async def release(self, now: int) -> None:
        await self._db.execute(SQL["release"], now)

    async def recompute_due(self, now: int, ahead: int, until: int) -> None:
        await self._db.execute(SQL["recompute_due"], now, ahead, until)

    async def delete_of_run(self, run_id: str, now: int) -> None:
        await self._db.execute(SQL["delete_of_run"], run_id, now)

    async def delete_of_thread(self, thread_id: str, now: int) -> None:
        await self._db.execute(SQL["delete_of_thread"], thread_id, now)

    async def delete_expired(self, now: int) -> int:
        number: int = await self._db.fetchval(SQL["delete_expired"], now)
        return number

    async def search(self, query: DeliveryQuery) -> list[Delivery]:
        arguments = Arguments()
        where = _where(query, arguments)
        page = f"LIMIT {arguments.put(query.limit)} OFFSET {arguments.put(query.offset)}"
        sql = f"SELECT {WITHOUT_BODY} FROM deliveries {where} ORDER BY seq DESC {page}"
        return [DELIVERY.read(row) for row in await self._db.fetch(sql, *arguments)]

    async def count(self, query: DeliveryQuery) -> int:
        arguments = Arguments()
        where = _where(query, arguments)
        count: int = await self._db.fetchval(f"SELECT count(*) FROM deliveries {where}", *arguments)
        return count

    async def _one(self, name: str, *values: Any) -> Delivery | None:
        row = await self._db.fetchrow(SQL[name], *values)
        return None if row is None else DELIVERY.read(row)


def _where(query: DeliveryQuery, arguments: Arguments) -> str:
    """Returns the filters of a query as SQL; their values are added to `arguments`."""
    wanted = {"run_id": query.run_id, "thread_id": query.thread_id, "status": query.status}
    conditions = [f"{name} = {arguments.put(value)}" for name, value in wanted.items() if value is not None]
    if query.threads is not None:
        seen = condition(query.threads, "t.search", arguments)
        conditions.append(f"EXISTS (SELECT 1 FROM threads t WHERE t.thread_id = deliveries.thread_id AND {seen})")
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""
