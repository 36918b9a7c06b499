"""Items of the long-term store in SQLite."""

import functools
import heapq
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from threadloom.storage.items import Condition, ItemQuery, matches
from threadloom.storage.sqlite.named import load
from threadloom.storage.sqlite.vectors import Fetched, Ids, VectorCache, parse_ids
from threadloom.types import Item

SQL = load("items.sql")

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
        page = {"limit": query.limit, "offset": query.offset}
        if query.vector is not None:
            return self._likest(query, bounds)
        if query.conditions:
            ranked = heapq.nsmallest(query.offset + query.limit, self._filtered(query.conditions, bounds))
            return self._by_ids([found[-1] for found in ranked[query.offset :]])
        if not query.prefix:
            return [_from_row(row) for row in self._connection.execute(SQL["list_all"], {"now": now} | page)]
        return self._by_ids([row[0] for row in self._connection.execute(SQL["page_below"], bounds | page)])

    async def namespaces(self, prefix: tuple[str, ...], now: int) -> list[tuple[str, ...]]:
        return [_decode(row[0]) for row in self._connection.execute(SQL["namespaces"], _bounds(prefix) | {"now": now})]

    async def sweep(self, now: int, limit: int) -> int:
        return self._connection.execute(SQL["sweep"], {"now": now, "limit": limit}).rowcount

    def _likest(self, query: ItemQuery, bounds: dict[str, Any]) -> list[Item]:
        assert query.vector is not None
        dims = len(query.vector) // 4
        ids = parse_ids(self._connection.execute(SQL["vector_ids"], bounds | {"dims": dims}).fetchone()[0])
        fetch = functools.partial(self._fetch, dims)
        owners, scores = self._vectors.score(query.vector, ids, fetch, functools.partial(self._living, dims))
        plain = None
        if query.conditions:
            plain = sorted(self._filtered(query.conditions, bounds))
            chosen = np.isin(owners, np.fromiter((found[-1] for found in plain), dtype=np.int64, count=len(plain)))
            owners, scores = owners[chosen], scores[chosen]
        # An item is as near as its nearest vector; equals stand in the order of their making.
        order = np.lexsort((owners, -scores))
        _, first = np.unique(owners[order], return_index=True)
        best = order[np.sort(first)]
        end = query.offset + query.limit
        top = best[query.offset : end]
        found = self._by_ids(owners[top].tolist(), scores[top].tolist())
        if len(best) >= end:
            return found
        page = {"limit": query.limit - len(found), "offset": max(0, query.offset - len(best))}
        if plain is None:
            rest = [row[0] for row in self._connection.execute(SQL["unscored"], bounds | page | {"dims": dims})]
        else:
            scored = set(owners.tolist())
            rest = [found[-1] for found in plain if found[-1] not in scored]
            rest = rest[page["offset"] : page["offset"] + page["limit"]]
        return found + self._by_ids(rest)

    def _filtered(self, wanted: Sequence[Condition], bounds: dict[str, Any]) -> Iterator[tuple[int, bytes, str, int]]:
        """Items that meet the conditions, as (sort keys of the plain order …, id)."""
        needles = {f"needle{number}": needle for number, needle in enumerate(_needles(wanted))}
        sql = SQL["values_below"] + "".join(f" AND instr(value, :{name}) > 0" for name in needles)
        fields = _reader(tuple(sorted({condition.field for condition in wanted})))
        for item_id, updated_at, ns, key, value in self._connection.execute(sql, bounds | needles):
            if matches(wanted, fields(value)):
                yield -updated_at, ns, key, item_id

    def _by_ids(self, ids: Sequence[int], scores: Sequence[float] | None = None) -> list[Item]:
        if not ids:
            return []
        rows = self._connection.execute(SQL["by_ids"], (msgspec.json.encode(ids).decode(),))
        found = {row[0]: row[1:] for row in rows}
        if scores is None:
            return [_from_row(found[item_id]) for item_id in ids]
        return [_from_row(found[item_id], score) for item_id, score in zip(ids, scores, strict=True)]

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


def _decode(ns: bytes) -> tuple[str, ...]:
    return tuple(ns.decode().split("\0")[:-1])


def _bounds(prefix: tuple[str, ...]) -> dict[str, Any]:
    """From the prefix itself up to before the first that is not below it. No UTF-8 begins with 0xFF."""
    start = encode(prefix)
    return {"from": start, "upto": start[:-1] + b"\x01" if start else b"\xff"}


def _needles(wanted: Sequence[Condition]) -> list[bytes]:
    """What the JSON of every match has in it: text, truth and null have one spelling, numbers have several."""
    return [
        msgspec.json.encode(condition.field) + b":" + msgspec.json.encode(condition.operand)
        for condition in wanted
        if condition.operator == "eq" and (condition.operand is None or isinstance(condition.operand, str | bool))
    ]


@functools.lru_cache(maxsize=256)
def _reader(names: tuple[str, ...]) -> Callable[[bytes], dict[str, Any]]:
    """Reads a few top-level fields of a JSON object, several times as fast as reading all of it."""
    if any(not name.isprintable() or '"' in name or "\\" in name for name in names):
        return msgspec.json.decode  # a struct cannot have such fields
    attributes = {f"field{number}": name for number, name in enumerate(names)}
    kind = msgspec.defstruct(
        "Fields",
        [(attribute, Any, msgspec.field(default=msgspec.UNSET)) for attribute in attributes],
        rename=attributes,
        gc=False,
    )
    decoder = msgspec.json.Decoder(kind)

    def read(value: bytes) -> dict[str, Any]:
        fields = decoder.decode(value)
        present = ((name, getattr(fields, attribute)) for attribute, name in attributes.items())
        return {name: value for name, value in present if value is not msgspec.UNSET}

    return read


def _from_row(row: Sequence[Any], score: float | None = None) -> Item:
    return Item(
        namespace=_decode(row[0]),
        key=row[1],
        value_json=row[2],
        created_at=row[3],
        updated_at=row[4],
        ttl_minutes=row[5],
        expires_at=row[6],
        score=score,
    )
