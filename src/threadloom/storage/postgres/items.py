"""Items of the long-term store in PostgreSQL."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from threadloom.storage.items import NARROWING, Condition, ItemQuery, decode, encode
from threadloom.storage.named import load
from threadloom.storage.postgres.documents import NoDocument, dump, operand
from threadloom.storage.postgres.filters import Arguments, field_of
from threadloom.storage.postgres.session import Session, bound
from threadloom.storage.ranking import Ranking, SharedVectors, ids_of
from threadloom.storage.rows import ITEM
from threadloom.types import Item

if TYPE_CHECKING:
    from threadloom.storage.vectors import Fetched, Ids

T = TypeVar("T")

SQL = load(__package__, "items.sql")

ORDER = "ORDER BY updated_at DESC, namespace, key"

OFF_LOOP_FLOATS = 1_000_000
"""Number of multiplications from which they run on a thread, so that the event loop is not blocked."""

INDEXED = 1000
"""How many bytes of a namespace its index contains."""


class PostgresItems(Ranking):
    """See `storage.items.Items`.

    Args:
        vectors: the cache shared by all connections to one database.
    """

    def __init__(self, session: Session, vectors: SharedVectors) -> None:
        super().__init__(vectors)
        self._db = session

    async def put(self, item: Item, vectors: Sequence[bytes], now: int) -> None:
        row = ITEM.row(item)
        namespace = row["namespace"]
        row |= {"place": key_of(namespace, item.key), "key": item.key.encode(), "now": now}
        item_id, fresh = await self._db.fetchrow(*bound(SQL["put"], row))
        if vectors or not fresh:
            await self._db.execute(SQL["put_vectors"], item_id, namespace, item.expires_at, list(vectors))

    async def get(self, namespace: tuple[str, ...], key: str, now: int) -> Item | None:
        row = await self._db.fetchrow(SQL["get"], key_of(encode(namespace), key), now)
        return None if row is None else ITEM.read(row)

    async def refresh(self, item_keys: Sequence[tuple[tuple[str, ...], str]], now: int) -> None:
        if item_keys:
            found = [key_of(encode(namespace), key) for namespace, key in item_keys]
            await self._db.execute(SQL["refresh"], found, now)

    async def delete(self, namespace: tuple[str, ...], key: str) -> None:
        await self._db.execute(SQL["delete"], key_of(encode(namespace), key))

    async def namespaces(self, prefix: tuple[str, ...], now: int) -> list[tuple[str, ...]]:
        arguments = Arguments()
        sql = f"SELECT DISTINCT namespace FROM items WHERE {_living(prefix, now, arguments)} ORDER BY namespace"
        return [decode(row[0]) for row in await self._db.fetch(sql, *arguments)]

    async def sweep(self, now: int, limit: int) -> int:
        number: int = await self._db.fetchval(SQL["sweep"], now, limit)
        return number

    async def _page(
        self, query: ItemQuery, now: int, offset: int, limit: int, *, unscored: int
    ) -> Sequence[tuple[int, Item]]:
        rows = await self._ordered(f"id, {ITEM.columns()}", query, now, offset, limit, unscored)
        return [(row[0], ITEM.read(row[1:])) for row in rows]

    async def _ids_after(self, query: ItemQuery, now: int, offset: int, *, unscored: int) -> Iterable[int]:
        return [row[0] for row in await self._ordered("id", query, now, offset, None, unscored)]

    async def _ordered(
        self, columns: str, query: ItemQuery, now: int, offset: int, limit: int | None, unscored: int
    ) -> Sequence[Any]:
        """Returns columns of items that are not expired, in plain order."""
        arguments = Arguments()
        where = _living(query.prefix, now, arguments) + _without_vector(unscored, arguments)
        where += _narrowed(query.conditions, arguments)
        page = f"LIMIT {arguments.put(limit)} OFFSET {arguments.put(offset)}"
        return await self._db.fetch(f"SELECT {columns} FROM items WHERE {where} {ORDER} {page}", *arguments)

    async def _vector_ids(self, query: ItemQuery, dims: int, now: int, *, narrowed: bool) -> "Ids":
        """The ids are fetched as one text: a hundred thousand rows would cost more."""
        arguments = Arguments()
        if query.conditions and narrowed:
            living = _living(query.prefix, now, arguments, "i.") + _narrowed(query.conditions, arguments, "i.")
            source = f"items i JOIN item_vectors v ON v.item = i.id WHERE {living}"
        else:
            source = f"item_vectors v WHERE {_living(query.prefix, now, arguments, 'v.')}"
        sql = f"SELECT string_agg(v.id::text, ',') FROM {source} AND v.dims = {arguments.put(dims)}"
        return ids_of(await self._db.fetchval(sql, *arguments))

    async def _stored_vectors(self, dims: int, ids: "Ids") -> "Fetched":
        return await self._db.fetch(SQL["vectors"], ids.tolist())

    async def _stored_vector_ids(self, dims: int) -> "Ids":
        return ids_of(await self._db.fetchval(SQL["living_vectors"], dims))

    async def _values(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        return {row[0]: row[1] for row in await self._db.fetch(SQL["values"], list(ids))}

    async def _items(self, ids: Sequence[int]) -> Mapping[int, Item]:
        rows = await self._db.fetch(SQL["by_ids"], list(ids)) if ids else ()
        return {row[0]: ITEM.read(row[1:]) for row in rows}

    async def _computed(self, work: Callable[[], T], size: int) -> T:
        return work() if size < OFF_LOOP_FLOATS else await asyncio.to_thread(work)


def key_of(namespace: bytes, key: str) -> bytes:
    """Returns a digest of namespace and key for a unique index, which cannot contain long values."""
    return hashlib.sha256(len(namespace).to_bytes(8, "big") + namespace + key.encode()).digest()


def _living(prefix: tuple[str, ...], now: int, arguments: Arguments, table: str = "") -> str:
    """Returns the condition that a row is in a namespace at or below `prefix` and not expired."""
    living = f"({table}expires_at IS NULL OR {table}expires_at > {arguments.put(now)})"
    if not prefix:
        return living
    start = encode(prefix)
    after = start[:-1] + b"\x01"
    beginning = f"substring({table}namespace FROM 1 FOR {INDEXED})"
    if len(start) <= INDEXED:
        return f"{beginning} >= {arguments.put(start)} AND {beginning} < {arguments.put(after)} AND {living}"
    same = f"{beginning} = {arguments.put(start[:INDEXED])}"
    return f"{same} AND {table}namespace >= {arguments.put(start)} AND {table}namespace < {arguments.put(after)} AND {living}"


def _without_vector(dims: int, arguments: Arguments) -> str:
    if not dims:
        return ""
    return f" AND NOT EXISTS (SELECT 1 FROM item_vectors v WHERE v.item = items.id AND v.dims = {arguments.put(dims)})"


def _narrowed(wanted: Sequence[Condition], arguments: Arguments, table: str = "") -> str:
    """Returns SQL that permits every match and few other rows. It covers only comparisons that the database makes exactly as
    `matches` does: plain equality, and numbers that a double can represent.
    """
    return "".join(
        f" AND {sql}" for one in wanted[:NARROWING] if (sql := _narrow(one, f"tl_document({table}value)", arguments))
    )


def _narrow(condition: Condition, document: str, arguments: Arguments) -> str | None:
    value = condition.operand
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, Mapping | list) or condition.operator == "ne" or (number and not abs(value) < 2**53):
        return None
    try:
        name, wanted = operand(condition.field), operand(value)
    except NoDocument:
        return None
    if condition.operator == "eq":
        return f"{document} @> {arguments.json(dump({name: wanted}))}"
    if not number:
        return None
    sign = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[condition.operator]
    found = field_of(document, name, arguments)
    limit = f"{arguments.put(repr(value))}::text::numeric"
    return f"CASE jsonb_typeof({found}) WHEN 'number' THEN {found}::numeric {sign} {limit} END"
