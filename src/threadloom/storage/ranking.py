"""Searches of the items of the long-term store, by similarity to a vector and by conditions. Written once for all databases.

A database returns pages in plain order, ids of vectors, and values of rows. It may return rows that do not meet the conditions:
`storage.items.matches` decides.
"""

import abc
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from threadloom.storage.items import Condition, ItemQuery, matches, reader
from threadloom.types import Item

if TYPE_CHECKING:
    from threadloom.storage.vectors import Fetched, Ids, Scored, VectorCache

T = TypeVar("T")

WARM_BYTES = 512 * 1024 * 1024
"""Vectors are read before a search needs them if they take no more memory than this."""

TRIED = 1000
"""In a search with conditions, so many of the nearest items are checked one by one before all items are searched."""


class SharedVectors:
    """The cache of vectors that all connections to one database share. numpy is imported when vectors are first searched: most
    servers never do, and need not install it.
    """

    @functools.cached_property
    def cache(self) -> "VectorCache":
        """The cache."""
        from threadloom.storage.vectors import VectorCache

        return VectorCache()


def ids_of(text: str | None) -> "Ids":
    """Returns the ids in a comma-separated text (or None), sorted."""
    from threadloom.storage.vectors import parse_ids

    return parse_ids(text)


class Ranking(abc.ABC):
    """`search` and `warm` of `storage.items.Items`.

    Args:
        vectors: the cache.
    """

    def __init__(self, vectors: SharedVectors) -> None:
        self._vectors = vectors

    @abc.abstractmethod
    async def _page(
        self, query: ItemQuery, now: int, offset: int, limit: int, *, unscored: int
    ) -> Sequence[tuple[int, Item]]:
        """Returns items that are not expired and may meet the conditions, in plain order, with their ids.

        Args:
            unscored: only items without a vector of that length; 0: all.
        """

    @abc.abstractmethod
    async def _ids_after(self, query: ItemQuery, now: int, offset: int, *, unscored: int) -> Iterable[int]:
        """Returns the ids of all items on later pages."""

    @abc.abstractmethod
    async def _vector_ids(self, query: ItemQuery, dims: int, now: int, *, narrowed: bool) -> "Ids":
        """Returns the ids of the vectors of that length whose items are not expired. `narrowed`: only of items that may meet the
        conditions.
        """

    @abc.abstractmethod
    async def _stored_vectors(self, dims: int, ids: "Ids") -> "Fetched":
        """Returns vectors by id. The result may contain others of that length."""

    @abc.abstractmethod
    async def _stored_vector_ids(self, dims: int) -> "Ids":
        """Returns the ids of all vectors of that length."""

    @abc.abstractmethod
    async def _values(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        """Returns the values of items, by id."""

    @abc.abstractmethod
    async def _items(self, ids: Sequence[int]) -> Mapping[int, Item]:
        """Returns items by id."""

    @abc.abstractmethod
    async def _computed(self, work: Callable[[], T], size: int) -> T:
        """Returns the result of a computation on so many numbers, which must not block the event loop."""

    async def search(self, query: ItemQuery, now: int) -> list[Item]:
        if query.vector is None:
            return await self._plain(query, now, query.offset, query.limit)
        end = query.offset + query.limit
        ranked = await self._ranked(query, query.vector, now, end, TRIED if query.conditions else None)
        if ranked is None:
            # Few items match: search for them first, then rank what is found.
            ranked = await self._ranked(query, query.vector, now, end, None)
            assert ranked is not None
        page = dict(ranked[query.offset :])
        items = await self._items(list(page))
        found = [msgspec.structs.replace(items[one], score=score) for one, score in page.items() if one in items]
        if len(ranked) < end:
            offset, limit = max(0, query.offset - len(ranked)), query.limit - len(found)
            found += await self._plain(query, now, offset, limit, unscored=len(query.vector) // 4)
        return found

    async def warm(self, dims: int, now: int) -> None:
        ids = await self._vector_ids(ItemQuery(), dims, now, narrowed=False)
        if len(ids) * dims * 4 <= WARM_BYTES:
            await self._have(self._vectors.cache, dims, ids)

    async def _plain(self, query: ItemQuery, now: int, offset: int, limit: int, *, unscored: int = 0) -> list[Item]:
        """Returns a page of items that meet the conditions, in plain order."""
        if not query.conditions:
            return [item for _, item in await self._page(query, now, offset, limit, unscored=unscored)]
        end = offset + limit
        fields = reader(query.conditions)
        # Rows that the database returns rarely fail the exact check, so the first page is mostly enough.
        first = await self._page(query, now, 0, end, unscored=unscored)
        found = [item for _, item in first if matches(query.conditions, fields(item.value_json))]
        if len(found) < end and len(first) == end:
            others = await self._ids_after(query, now, end, unscored=unscored)
            more = await self._passing(others, query.conditions, end - len(found))
            items = await self._items(more)
            found += [items[one] for one in more if one in items]
        return found[offset:]

    async def _ranked(
        self, query: ItemQuery, vector: bytes, now: int, end: int, tried: int | None
    ) -> list[tuple[int, float]] | None:
        """Returns the `end` nearest items that meet the conditions, with their similarity; fewer if there are no more.

        Args:
            tried: how many of the nearest are checked, each by itself. None: the items that meet the conditions are searched
                first.

        Returns:
            None: not enough of those checked meet the conditions, and there are others.
        """
        from threadloom.storage.vectors import nearest

        ids = await self._vector_ids(query, len(vector) // 4, now, narrowed=tried is None)
        owners, scores = await self._scores(vector, ids)
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

    async def _scores(self, vector: bytes, ids: "Ids") -> "Scored":
        dims = len(vector) // 4
        for cache in (self._vectors.cache, self._vectors.cache, SharedVectors().cache):
            # The shared cache holds vectors of one length. Searches of another length could empty it again and again.
            await self._have(cache, dims, ids)
            scored = await self._computed(functools.partial(cache.score, vector, ids), len(ids) * dims)
            if scored is not None:
                return scored
        raise AssertionError("a cache of one's own misses nothing")

    async def _have(self, cache: "VectorCache", dims: int, ids: "Ids") -> None:
        """Loads vectors into a cache. Another search may remove some of them meanwhile."""
        from threadloom.storage.vectors import PORTION

        missing = cache.missing(dims, ids)
        for start in range(0, len(missing), PORTION):
            cache.add(dims, await self._stored_vectors(dims, missing[start : start + PORTION]))
        if cache.crowded:
            cache.compact(dims, await self._stored_vector_ids(dims))

    async def _passing(self, ids: Iterable[int], wanted: Sequence[Condition], count: int) -> list[int]:
        """Returns the first `count` of the ids whose items meet the conditions, in the same order."""
        fields = reader(wanted)
        passing: list[int] = []
        rest, size = iter(ids), 64
        while len(passing) < count and (portion := list(itertools.islice(rest, size))):
            values = await self._values(portion)
            passing += (one for one in portion if one in values and matches(wanted, fields(values[one])))
            size = min(size * 2, 4096)
        return passing[:count]
