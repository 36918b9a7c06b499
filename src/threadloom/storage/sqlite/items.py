"""Items of the long-term store in SQLite."""

import functools
import itertools
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from threadloom.storage.items import NARROWING, Condition, ItemQuery, matches, reader
from threadloom.storage.named import load
from threadloom.storage.vectors import Fetched, Ids, VectorCache, nearest, parse_ids
from threadloom.types import Item

SQL = load(__package__, "items.sql")

_PLAIN = re.compile(r"\w+", re.ASCII)

WARM_BYTES = 512 * 1024 * 1024
"""Vectors are read before they are asked for if they take no more memory than this."""

TRIED = 1000
"""Of a search with conditions so many of the nearest items are looked at one by one, before all items are looked through."""

DENSE = 4
"""Missing vectors are read as one range of ids when at least one in so many of the range is missing."""


class SqliteItems:
    """See `storage.items.Items`.

    Args:
        vectors: the cache shared by all connections to one database.
    """

    def __init__(self, connection: sqlite3.Connection, vectors: VectorCache | None = None) -> None:
        self._connection = connection
        self._vectors = VectorCache() if vectors is None else vectors

    async def put(self, item: Item, vectors: Sequence[bytes], now: int) -> None:
        ns = encode(item.namespace)
        row = {
            "ns": ns,
            "key": item.key,
            "created_at": item.created_at,
            "updated_at": item.updated_at,
            "ttl_minutes": item.ttl_minutes,
            "expires_at": item.expires_at,
            "value": item.value_json,
            "now": now,
        }
        (item_id,) = self._connection.execute(SQL["put"], row).fetchone()
        self._connection.execute(SQL["drop_vectors"], (item_id,))
        self._connection.executemany(
            SQL["put_vector"], [(item_id, ns, len(vector) // 4, item.expires_at, vector) for vector in vectors]
        )

    async def get(self, namespace: tuple[str, ...], key: str, now: int) -> Item | None:
        wanted = {"ns": encode(namespace), "key": key, "now": now}
        row = self._connection.execute(SQL["get"], wanted).fetchone()
        return None if row is None else _from_row(row)

    async def refresh(self, places: Sequence[tuple[tuple[str, ...], str]], now: int) -> None:
        for namespace, key in places:
            wanted = {"ns": encode(namespace), "key": key, "now": now}
            row = self._connection.execute(SQL["refresh"], wanted).fetchone()
            if row is not None:
                self._connection.execute(SQL["refresh_vectors"], (row[1], row[0]))

    async def delete(self, namespace: tuple[str, ...], key: str) -> None:
        self._connection.execute(SQL["delete"], (encode(namespace), key))

    async def search(self, query: ItemQuery, now: int) -> list[Item]:
        bounds = _bounds(query.prefix) | {"now": now}
        if query.vector is not None:
            return self._likest(query, bounds)
        if query.conditions:
            return self._by_ids(self._filtered("below", query, bounds, query.offset, query.limit))
        if not query.prefix:
            page = {"now": now, "limit": query.limit, "offset": query.offset}
            return [_from_row(row) for row in self._connection.execute(SQL["list_all"], page)]
        return self._by_ids(self._plain("below", query, bounds, query.offset, query.limit))

    async def namespaces(self, prefix: tuple[str, ...], now: int) -> list[tuple[str, ...]]:
        return [decode(row[0]) for row in self._connection.execute(SQL["namespaces"], _bounds(prefix) | {"now": now})]

    async def sweep(self, now: int, limit: int) -> int:
        return self._connection.execute(SQL["sweep"], {"now": now, "limit": limit}).rowcount

    async def warm(self, dims: int, now: int) -> None:
        bounds = _bounds(()) | {"dims": dims, "now": now}
        ids = parse_ids(self._connection.execute(SQL["vector_ids"], bounds).fetchone()[0])
        if len(ids) * dims * 4 <= WARM_BYTES:
            self._vectors.warm(dims, ids, functools.partial(self._fetch, dims), functools.partial(self._living, dims))

    def _likest(self, query: ItemQuery, bounds: dict[str, Any]) -> list[Item]:
        assert query.vector is not None
        bounds["dims"] = len(query.vector) // 4
        end = query.offset + query.limit
        ranked = self._ranked(query, bounds, end, TRIED if query.conditions else None)
        if ranked is None:
            # What fits is rare: it is looked for first, and what is found is ranked.
            ranked = self._ranked(query, bounds, end, None)
            assert ranked is not None
        page = dict(ranked[query.offset :])
        found = self._by_ids(list(page), page)
        if len(ranked) == end:
            return found
        offset, limit = max(0, query.offset - len(ranked)), query.limit - len(found)
        rest = (self._filtered if query.conditions else self._plain)("unscored", query, bounds, offset, limit)
        return found + self._by_ids(rest)

    def _ranked(
        self, query: ItemQuery, bounds: dict[str, Any], end: int, tried: int | None
    ) -> list[tuple[int, float]] | None:
        """The `end` nearest items that meet the conditions, with their likeness; fewer if there are no more.

        Args:
            tried: how many of the nearest are looked at, each by itself. None: what meets the conditions is looked for first.

        Returns:
            None: not enough of those tried do, and there are others.
        """
        assert query.vector is not None
        sql, values = SQL["vector_ids"], dict[str, Any]()
        if query.conditions and tried is None:
            narrowed, values = _narrowed(query.conditions)
            sql = SQL["vector_ids_of"] + narrowed
        dims: int = bounds["dims"]
        ids = parse_ids(self._connection.execute(sql, bounds | values).fetchone()[0])
        fetch, living = functools.partial(self._fetch, dims), functools.partial(self._living, dims)
        owners, scores = self._vectors.score(query.vector, ids, fetch, living)
        ranked: list[tuple[int, float]] = []
        for best in nearest(owners, scores, end if tried is None else tried):
            nearness = dict(best)
            candidates = itertools.islice(nearness, tried)
            passing = self._checked(candidates, query.conditions) if query.conditions else candidates
            ranked = [(item_id, nearness[item_id]) for item_id in itertools.islice(passing, end)]
            if len(ranked) == end:
                break
            if tried is not None and len(nearness) >= tried:
                return None
        return ranked

    def _plain(self, sql: str, query: ItemQuery, bounds: dict[str, Any], offset: int, limit: int) -> list[int]:
        """A page of ids in plain order, conditions unseen."""
        order = _order(query) + " LIMIT :limit OFFSET :offset"
        page = {"limit": limit, "offset": offset}
        return [row[0] for row in self._connection.execute(SQL[sql] + order, bounds | page)]

    def _filtered(self, sql: str, query: ItemQuery, bounds: dict[str, Any], offset: int, limit: int) -> list[int]:
        """A page of ids in plain order of items that meet the conditions."""
        narrowed, values = _narrowed(query.conditions)
        ordered = SQL[sql] + narrowed + _order(query) + " LIMIT :limit OFFSET :offset"
        end = offset + limit

        # SQLite sorts a first page much faster than everything, and what it lets through rarely fails the exact check.
        first = self._connection.execute(ordered, bounds | values | {"limit": end, "offset": 0}).fetchall()
        found = list(self._checked((row[0] for row in first), query.conditions))
        if len(found) < end and len(first) == end:
            others = self._connection.execute(ordered, bounds | values | {"limit": -1, "offset": end})
            more = self._checked((row[0] for row in others), query.conditions)
            found += itertools.islice(more, end - len(found))
        return found[offset:]

    def _checked(self, ids: Iterable[int], wanted: Sequence[Condition]) -> Iterator[int]:
        """Those of the ids whose items meet the conditions, in the same order."""
        fields = reader(wanted)
        rest, size = iter(ids), 64
        while portion := list(itertools.islice(rest, size)):
            values = dict(self._connection.execute(SQL["values"], (msgspec.json.encode(portion).decode(),)))
            yield from (item_id for item_id in portion if matches(wanted, fields(values[item_id])))
            size = min(size * 2, 4096)

    def _by_ids(self, ids: Sequence[int], scores: Mapping[int, float] | None = None) -> list[Item]:
        if not ids:
            return []
        rows = self._connection.execute(SQL["by_ids"], (msgspec.json.encode(ids).decode(),))
        found = {row[0]: row[1:] for row in rows}
        return [_from_row(found[item_id], scores[item_id] if scores else None) for item_id in ids]

    def _fetch(self, dims: int, ids: Ids) -> Fetched:
        low, high = int(ids[0]), int(ids[-1])
        if len(ids) * DENSE > high - low:
            return self._connection.execute(SQL["vectors_between"], (low, high, dims))
        return self._connection.execute(SQL["vectors"], (msgspec.json.encode(ids.tolist()).decode(),))

    def _living(self, dims: int) -> Ids:
        return parse_ids(self._connection.execute(SQL["living_vectors"], (dims,)).fetchone()[0])


def encode(namespace: tuple[str, ...]) -> bytes:
    """A namespace as it is stored: sorts label by label, and a prefix of labels is a prefix of bytes."""
    return b"".join(label.encode() + b"\0" for label in namespace)


def decode(ns: bytes) -> tuple[str, ...]:
    """The namespace that `encode` was given."""
    return tuple(ns.decode().split("\0")[:-1])


def _bounds(prefix: tuple[str, ...]) -> dict[str, Any]:
    """From the prefix itself up to before the first that is not below it. No UTF-8 begins with 0xFF."""
    start = encode(prefix)
    return {"from": start, "upto": start[:-1] + b"\x01" if start else b"\xff"}


def _order(query: ItemQuery) -> str:
    """The plain order. Everything is walked by an index of it; below a namespace, `+` keeps SQLite from doing that."""
    return f" ORDER BY {'+' if query.prefix else ''}updated_at DESC, ns, key"


def _narrowed(wanted: Sequence[Condition]) -> tuple[str, dict[str, Any]]:
    """SQL (with its values) that lets every match through, and few others: SQLite reads JSON faster than we do.

    It knows only what SQLite surely compares as we do: plain names, texts without NUL, numbers that a double holds.
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
                sign += "="  # SQLite may cut a stored text off at a NUL, which makes it equal
            sql += f" AND json_extract(CAST(value AS TEXT), '$.\"{condition.field}\"') {sign} :operand{number}"
            values[f"operand{number}"] = operand
    return sql, values


def _from_row(row: Sequence[Any], score: float | None = None) -> Item:
    return Item(
        namespace=decode(row[0]),
        key=row[1],
        value_json=row[2],
        created_at=row[3],
        updated_at=row[4],
        ttl_minutes=row[5],
        expires_at=row[6],
        score=score,
    )
