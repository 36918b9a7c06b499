"""Items of the long-term store in PostgreSQL."""

import asyncio
import functools
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from threadloom.storage.items import NARROWING, Condition, ItemQuery, matches, reader
from threadloom.storage.named import load
from threadloom.storage.postgres.documents import NoDocument, dump, operand
from threadloom.storage.postgres.filters import Arguments, field_of
from threadloom.storage.postgres.session import Session
from threadloom.storage.vectors import PORTION, Ids, Scored, VectorCache, nearest, parse_ids
from threadloom.types import Item

SQL = load(__package__, "items.sql")

COLUMNS = "id, ns, key, value, created_at, updated_at, ttl_minutes, expires_at"
ORDER = "ORDER BY updated_at DESC, ns, key"
WARM_BYTES = 512 * 1024 * 1024
"""Vectors are read before they are asked for if they take no more memory than this."""

TRIED = 1000
"""Of a search with conditions so many of the nearest items are looked at one by one, before all items are looked through."""

INDEXED = 1000
"""Bytes of a namespace that its index has."""

ASIDE = 1_000_000
"""Numbers to be multiplied, from which on that is done by a thread, so that the event loop goes on."""


class PostgresItems:
    """See `storage.items.Items`.

    Args:
        vectors: the cache shared by all connections to one database.
    """

    def __init__(self, session: Session, vectors: VectorCache) -> None:
        self._db = session
        self._vectors = vectors

    async def put(self, item: Item, vectors: Sequence[bytes], now: int) -> None:
        ns = encode(item.namespace)
        item_id, fresh = await self._db.fetchrow(
            SQL["put"],
            place_of(ns, item.key),
            ns,
            item.key.encode(),
            item.created_at,
            item.updated_at,
            item.ttl_minutes,
            item.expires_at,
            item.value_json,
            now,
        )
        if vectors or not fresh:
            await self._db.execute(SQL["put_vectors"], item_id, ns, item.expires_at, list(vectors))

    async def get(self, namespace: tuple[str, ...], key: str, now: int) -> Item | None:
        row = await self._db.fetchrow(SQL["get"], place_of(encode(namespace), key), now)
        return None if row is None else _from_row(row)

    async def refresh(self, places: Sequence[tuple[tuple[str, ...], str]], now: int) -> None:
        if places:
            found = [place_of(encode(namespace), key) for namespace, key in places]
            await self._db.execute(SQL["refresh"], found, now)

    async def delete(self, namespace: tuple[str, ...], key: str) -> None:
        await self._db.execute(SQL["delete"], place_of(encode(namespace), key))

    async def search(self, query: ItemQuery, now: int) -> list[Item]:
        if query.vector is not None:
            return await self._likest(query, now)
        if query.conditions:
            return await self._filtered(query, now, query.offset, query.limit)
        return await self._plain(query, now, query.offset, query.limit)

    async def namespaces(self, prefix: tuple[str, ...], now: int) -> list[tuple[str, ...]]:
        arguments = Arguments()
        sql = f"SELECT DISTINCT ns FROM items WHERE {_living(prefix, now, arguments)} ORDER BY ns"
        return [decode(row[0]) for row in await self._db.fetch(sql, *arguments)]

    async def sweep(self, now: int, limit: int) -> int:
        number: int = await self._db.fetchval(SQL["sweep"], now, limit)
        return number

    async def _plain(self, query: ItemQuery, now: int, offset: int, limit: int, *, unscored: int = 0) -> list[Item]:
        """A page in plain order, conditions unseen; with `unscored`, only of items without a vector of that length."""
        arguments = Arguments()
        where = _living(query.prefix, now, arguments) + _without_vector(unscored, arguments)
        page = f"LIMIT {arguments.put(limit)} OFFSET {arguments.put(offset)}"
        rows = await self._db.fetch(f"SELECT {COLUMNS} FROM items WHERE {where} {ORDER} {page}", *arguments)
        return [_from_row(row) for row in rows]

    async def _filtered(self, query: ItemQuery, now: int, offset: int, limit: int, *, unscored: int = 0) -> list[Item]:
        """A page in plain order of items that meet the conditions; `unscored` as above."""
        arguments = Arguments()
        where = _living(query.prefix, now, arguments) + _without_vector(unscored, arguments)
        where += _narrowed(query.conditions, arguments)
        end = offset + limit
        fields = reader(query.conditions)
        ordered = f"FROM items WHERE {where} {ORDER} LIMIT ${len(arguments) + 1} OFFSET ${len(arguments) + 2}"

        # What the database lets through rarely fails the exact check, so a first page with all its values mostly does.
        first = await self._db.fetch(f"SELECT {COLUMNS} {ordered}", *arguments, end, 0)
        found = [_from_row(row) for row in first if matches(query.conditions, fields(row["value"]))]
        if len(found) < end and len(first) == end:
            others = await self._db.fetch(f"SELECT id {ordered}", *arguments, None, end)
            more = await self._passing((row[0] for row in others), query.conditions, end - len(found))
            found += await self._by_ids(more)
        return found[offset:end]

    async def warm(self, dims: int, now: int) -> None:
        ids = await self._vector_ids(ItemQuery(), dims, now, narrowed=False)
        if len(ids) * dims * 4 <= WARM_BYTES:
            await self._fetch(self._vectors, dims, ids)

    async def _likest(self, query: ItemQuery, now: int) -> list[Item]:
        assert query.vector is not None
        end = query.offset + query.limit
        ranked = await self._ranked(query, now, end, TRIED if query.conditions else None)
        if ranked is None:
            # What fits is rare: it is looked for first, and what is found is ranked.
            ranked = await self._ranked(query, now, end, None)
            assert ranked is not None
        page = dict(ranked[query.offset :])
        found = await self._by_ids(list(page), page)
        if len(ranked) == end:
            return found
        offset, limit = max(0, query.offset - len(ranked)), query.limit - len(found)
        rest = self._filtered if query.conditions else self._plain
        return found + await rest(query, now, offset, limit, unscored=len(query.vector) // 4)

    async def _ranked(self, query: ItemQuery, now: int, end: int, tried: int | None) -> list[tuple[int, float]] | None:
        """The `end` nearest items that meet the conditions, with their likeness; fewer if there are no more.

        Args:
            tried: how many of the nearest are looked at, each by itself. None: what meets the conditions is looked for first.

        Returns:
            None: not enough of those tried do, and there are others.
        """
        assert query.vector is not None
        ids = await self._vector_ids(query, len(query.vector) // 4, now, narrowed=tried is None)
        owners, scores = await self._scores(query.vector, ids)
        ranked: list[tuple[int, float]] = []
        for best in nearest(owners, scores, end if tried is None else tried):
            nearness = dict(best)
            passing = list(itertools.islice(nearness, tried))
            if query.conditions:
                passing = await self._passing(passing, query.conditions, end)
            ranked = [(item_id, nearness[item_id]) for item_id in passing[:end]]
            if len(ranked) == end:
                break
            if tried is not None and len(nearness) >= tried:
                return None
        return ranked

    async def _vector_ids(self, query: ItemQuery, dims: int, now: int, *, narrowed: bool) -> Ids:
        """The ids of all vectors that count, from one text: a hundred thousand rows would cost more."""
        arguments = Arguments()
        if query.conditions and narrowed:
            living = _living(query.prefix, now, arguments, "i.") + _narrowed(query.conditions, arguments, "i.")
            source = f"items i JOIN item_vectors v ON v.item = i.id WHERE {living}"
        else:
            source = f"item_vectors v WHERE {_living(query.prefix, now, arguments, 'v.')}"
        sql = f"SELECT string_agg(v.id::text, ',') FROM {source} AND v.dims = {arguments.put(dims)}"
        return parse_ids(await self._db.fetchval(sql, *arguments))

    async def _scores(self, query: bytes, ids: Ids) -> Scored:
        dims = len(query) // 4
        for cache in (self._vectors, self._vectors, VectorCache()):
            # The shared cache holds vectors of one length: searches of another length may empty it again and again.
            await self._fetch(cache, dims, ids)
            score = functools.partial(cache.score_cached, query, ids)
            scored = score() if len(ids) * dims < ASIDE else await asyncio.to_thread(score)
            if scored is not None:
                return scored
        raise AssertionError("a cache of one's own misses nothing")

    async def _fetch(self, cache: VectorCache, dims: int, ids: Ids) -> None:
        """Has vectors in a cache, as far as nothing comes between."""
        missing = cache.missing(dims, ids)
        for start in range(0, len(missing), PORTION):
            portion = missing[start : start + PORTION]
            cache.add(dims, await self._db.fetch(SQL["vectors"], portion.tolist()))
        if cache.crowded:
            cache.compact(dims, parse_ids(await self._db.fetchval(SQL["living_vectors"], dims)))

    async def _passing(self, ids: Iterable[int], wanted: Sequence[Condition], count: int) -> list[int]:
        """The first so many of the ids whose items meet the conditions, in the same order."""
        fields = reader(wanted)
        passing: list[int] = []
        rest, size = iter(ids), 64
        while len(passing) < count and (portion := list(itertools.islice(rest, size))):
            values = {row[0]: row[1] for row in await self._db.fetch(SQL["values"], portion)}
            passing += (one for one in portion if one in values and matches(wanted, fields(values[one])))
            size = min(size * 2, 4096)
        return passing[:count]

    async def _by_ids(self, ids: Sequence[int], scores: Mapping[int, float] | None = None) -> list[Item]:
        if not ids:
            return []
        found = {row["id"]: row for row in await self._db.fetch(SQL["by_ids"], list(ids))}
        return [_from_row(found[one], scores[one] if scores else None) for one in ids if one in found]


def encode(namespace: tuple[str, ...]) -> bytes:
    """A namespace as it is stored: sorts label by label, and a prefix of labels is a prefix of bytes."""
    return b"".join(label.encode() + b"\0" for label in namespace)


def decode(ns: bytes) -> tuple[str, ...]:
    """The namespace that `encode` was given."""
    return tuple(ns.decode().split("\0")[:-1])


def place_of(ns: bytes, key: str) -> bytes:
    """What stands for namespace and key in a unique index, which takes no long ones."""
    return hashlib.sha256(len(ns).to_bytes(8, "big") + ns + key.encode()).digest()


def _living(prefix: tuple[str, ...], now: int, arguments: Arguments, table: str = "") -> str:
    """The condition that a row is of a namespace at or below `prefix`, and alive."""
    living = f"({table}expires_at IS NULL OR {table}expires_at > {arguments.put(now)})"
    if not prefix:
        return living
    start = encode(prefix)
    after = start[:-1] + b"\x01"
    beginning = f"substring({table}ns FROM 1 FOR {INDEXED})"
    if len(start) <= INDEXED:
        return f"{beginning} >= {arguments.put(start)} AND {beginning} < {arguments.put(after)} AND {living}"
    same = f"{beginning} = {arguments.put(start[:INDEXED])}"
    return f"{same} AND {table}ns >= {arguments.put(start)} AND {table}ns < {arguments.put(after)} AND {living}"


def _without_vector(dims: int, arguments: Arguments) -> str:
    if not dims:
        return ""
    return f" AND NOT EXISTS (SELECT 1 FROM item_vectors v WHERE v.item = items.id AND v.dims = {arguments.put(dims)})"


def _narrowed(wanted: Sequence[Condition], arguments: Arguments, table: str = "") -> str:
    """SQL that lets every match through, and few others, where the database surely compares as we do: plain equality, and
    numbers that a double holds."""
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


def _from_row(row: Mapping[str, Any], score: float | None = None) -> Item:
    return Item(
        namespace=decode(row["ns"]),
        key=row["key"].decode(),
        value_json=row["value"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        ttl_minutes=row["ttl_minutes"],
        expires_at=row["expires_at"],
        score=score,
    )
