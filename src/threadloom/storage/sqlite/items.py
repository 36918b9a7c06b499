"""Items of the long-term store in SQLite."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from threadloom.storage.items import NARROWING, Condition, ItemQuery, decode, encode
from threadloom.storage.named import bound, load
from threadloom.storage.ranking import Ranking, SharedVectors, ids_of
from threadloom.storage.rows import ITEM
from threadloom.types import Item

if TYPE_CHECKING:
    from threadloom.storage.vectors import Fetched, Ids

T = TypeVar("T")

SQL = load(__package__, "items.sql")

_PLAIN = re.compile(r"\w+", re.ASCII)

DENSE = 4
"""Missing vectors are read as one range of ids if at least one in this many ids of the range is missing."""


class SqliteItems(Ranking):
    """See `storage.items.Items`.

    Args:
        vectors: the cache shared by all connections to one database.
    """

    def __init__(self, connection: sqlite3.Connection, vectors: SharedVectors | None = None) -> None:
        super().__init__(SharedVectors() if vectors is None else vectors)
        self._connection = connection

    async def put(self, item: Item, vectors: Sequence[bytes], now: int) -> None:
        row = ITEM.row(item) | {"now": now}
        (item_id,) = self._connection.execute(*bound(SQL["put"], row)).fetchone()
        self._connection.execute(SQL["drop_vectors"], (item_id,))
        self._connection.executemany(
            SQL["put_vector"],
            [(item_id, row["namespace"], len(vector) // 4, item.expires_at, vector) for vector in vectors],
        )

    async def get(self, namespace: tuple[str, ...], key: str, now: int) -> Item | None:
        wanted = {"namespace": encode(namespace), "key": key, "now": now}
        row = self._connection.execute(SQL["get"], wanted).fetchone()
        return None if row is None else ITEM.read(row)

    async def refresh(self, item_keys: Sequence[tuple[tuple[str, ...], str]], now: int) -> None:
        for namespace, key in item_keys:
            wanted = {"namespace": encode(namespace), "key": key, "now": now}
            row = self._connection.execute(SQL["refresh"], wanted).fetchone()
            if row is not None:
                self._connection.execute(SQL["refresh_vectors"], (row[1], row[0]))

    async def delete(self, namespace: tuple[str, ...], key: str) -> None:
        self._connection.execute(SQL["delete"], (encode(namespace), key))

    async def namespaces(self, prefix: tuple[str, ...], now: int) -> list[tuple[str, ...]]:
        return [decode(row[0]) for row in self._connection.execute(SQL["namespaces"], _bounds(prefix) | {"now": now})]

    async def sweep(self, now: int, limit: int) -> int:
        return self._connection.execute(SQL["sweep"], {"now": now, "limit": limit}).rowcount

    async def _page(
        self, query: ItemQuery, now: int, offset: int, limit: int, *, unscored: int
    ) -> Sequence[tuple[int, Item]]:
        if not (query.prefix or query.conditions or unscored):
            page = {"now": now, "limit": limit, "offset": offset}
            return [(row[0], ITEM.read(row[1:])) for row in self._connection.execute(SQL["list_all"], page)]
        ids = [row[0] for row in self._ordered(query, now, offset, limit, unscored)]
        items = await self._items(ids)
        return [(item_id, items[item_id]) for item_id in ids]

    async def _ids_after(self, query: ItemQuery, now: int, offset: int, *, unscored: int) -> Iterable[int]:
        return (row[0] for row in self._ordered(query, now, offset, -1, unscored))

    def _ordered(self, query: ItemQuery, now: int, offset: int, limit: int, unscored: int) -> sqlite3.Cursor:
        """Returns ids in plain order. A search of all items uses the index of that order; below a namespace, `+` keeps SQLite
        from using it.
        """
        narrowed, values = _narrowed(query.conditions)
        order = f" ORDER BY {'+' if query.prefix else ''}updated_at DESC, namespace, key LIMIT :limit OFFSET :offset"
        page = {"now": now, "limit": limit, "offset": offset, "dims": unscored}
        sql = SQL["unscored" if unscored else "below"] + narrowed + order
        return self._connection.execute(sql, _bounds(query.prefix) | values | page)

    async def _vector_ids(self, query: ItemQuery, dims: int, now: int, *, narrowed: bool) -> "Ids":
        values = _bounds(query.prefix) | {"now": now, "dims": dims}
        sql = SQL["vector_ids"]
        if query.conditions and narrowed:
            conditions, operands = _narrowed(query.conditions)
            sql, values = SQL["vector_ids_of"] + conditions, values | operands
        return ids_of(self._connection.execute(sql, values).fetchone()[0])

    async def _stored_vectors(self, dims: int, ids: "Ids") -> "Fetched":
        low, high = int(ids[0]), int(ids[-1])
        if len(ids) * DENSE > high - low:
            return self._connection.execute(SQL["vectors_between"], (low, high, dims))
        return self._connection.execute(SQL["vectors"], (_list(ids.tolist()),))

    async def _stored_vector_ids(self, dims: int) -> "Ids":
        return ids_of(self._connection.execute(SQL["living_vectors"], (dims,)).fetchone()[0])

    async def _values(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        return dict(self._connection.execute(SQL["values"], (_list(ids),)))

    async def _items(self, ids: Sequence[int]) -> Mapping[int, Item]:
        rows = self._connection.execute(SQL["by_ids"], (_list(ids),)) if ids else ()
        return {row[0]: ITEM.read(row[1:]) for row in rows}

    async def _computed(self, work: Callable[[], T], size: int) -> T:
        return work()  # the read already runs on a thread of its own


def _list(ids: Sequence[int]) -> str:
    return msgspec.json.encode(ids).decode()


def _bounds(prefix: tuple[str, ...]) -> dict[str, Any]:
    """Returns the bounds of the namespaces at and below a prefix. The upper bound works because no UTF-8 text contains the byte
    0xFF.
    """
    start = encode(prefix)
    return {"from": start, "upto": start[:-1] + b"\x01" if start else b"\xff"}


def _narrowed(wanted: Sequence[Condition]) -> tuple[str, dict[str, Any]]:
    """Returns SQL (with its values) that permits every match and few other rows: SQLite reads JSON faster than Python does.

    It covers only comparisons that SQLite makes exactly as `matches` does: plain names, texts without NUL, numbers that a double
    can represent.
    """
    sql, values = "", {}
    for number, condition in enumerate(wanted[:NARROWING]):
        operand = condition.operand
        if not _PLAIN.fullmatch(condition.field) or condition.operator == "ne":
            continue
        exact = isinstance(operand, int | float) and abs(operand) < 2**53
        if exact or (isinstance(operand, str) and "\0" not in operand):
            sign = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[condition.operator]
            if isinstance(operand, str) and sign in "<>":
                sign += "="  # SQLite may truncate a stored text at a NUL, which makes it equal
            sql += f" AND json_extract(CAST(value AS TEXT), '$.\"{condition.field}\"') {sign} :operand{number}"
            values[f"operand{number}"] = operand
    return sql, values
