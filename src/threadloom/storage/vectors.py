"""A cache of vectors for exact search: one matrix in memory, filled with what searches need.

A stored vector never changes and its id is never reused, so the cache is never stale. The database is queried each time for the
ids that are valid, within the reader's own snapshot. So the cache stays correct with concurrent writers and readers, and after a
restart, without any notification of changes.
"""

import itertools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Fetched = Iterable[tuple[int, int, bytes]]
"""Rows (vector id, item id, float32 bytes)."""

Scored = tuple[Ids, NDArray[np.float32]]
"""Owners of vectors, and the similarity of each vector to the query."""

COMPACT_ABOVE = 4096
"""Number of rows from which it is worth looking for deleted vectors."""

PORTION = 8192
"""Number of rows that are read and put into the matrix at a time."""


class VectorCache:
    """Vectors of one length by id. Safe to use from several threads.

    A change of length (another embedding model) empties it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clear(0)

    def _clear(self, dims: int) -> None:
        self._dims = dims
        self._count = 0
        self._checked = COMPACT_ABOVE
        self._matrix: NDArray[np.float32] = np.empty((0, dims), dtype=np.float32)
        self._owners: Ids = np.empty(0, dtype=np.int64)
        self._ids: Ids = np.empty(0, dtype=np.int64)  # sorted
        self._rows: Ids = np.empty(0, dtype=np.int64)  # rows of the matrix, in the order of _ids

    def __len__(self) -> int:
        return self._count

    # Used in steps, because the database is awaited in between. Another search may run between two steps. A search that finds
    # vectors missing again starts again.

    def missing(self, dims: int, ids: Ids) -> Ids:
        """Returns those of the ids whose vectors, of length `dims`, are not cached."""
        with self._lock:
            if dims != self._dims:
                self._clear(dims)
            missing = ids[~self._known(ids)]
            self._grow(self._count + len(missing))
            return missing

    def add(self, dims: int, fetched: Fetched) -> None:
        """Caches vectors of length `dims`, if this is still the length of the cache."""
        with self._lock:
            if dims == self._dims:
                self._add(fetched)

    @property
    def crowded(self) -> bool:
        """Returns whether it is time to check which vectors still exist."""
        return self._count >= self._checked

    def compact(self, dims: int, living: Ids) -> None:
        """Removes vectors that are not stored any more, if `dims` is still the length of the cache."""
        with self._lock:
            if dims == self._dims:
                self._compact(living)

    def score(self, query: bytes, ids: Ids) -> Scored | None:
        """Returns the owners of the vectors `ids` and their similarity to `query` (float32, little-endian, of unit length), in
        the order of `ids`; None when one of them is not cached.
        """
        wanted = np.frombuffer(query, dtype="<f4")
        with self._lock:
            if len(wanted) != self._dims or not self._known(ids).all():
                return None
            view = self._view(ids)
        return _likeness(wanted, *view)

    def _view(self, ids: Ids) -> tuple[Ids, NDArray[np.float32], Ids]:
        """Returns in which rows the vectors are, and the rows. Rows are only ever appended, to these arrays or to new ones, so a
        view never changes.
        """
        return self._rows[np.searchsorted(self._ids, ids)], self._matrix[: self._count], self._owners

    def _known(self, ids: Ids) -> NDArray[np.bool_]:
        if not len(self._ids):
            return np.zeros(len(ids), dtype=np.bool_)
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        found: NDArray[np.bool_] = self._ids[places] == ids
        return found

    def _add(self, fetched: Fetched) -> None:
        # In portions, so that the fetched rows are not all in memory a second time.
        rows = iter(fetched)
        while portion := list(itertools.islice(rows, PORTION)):
            ids = np.fromiter((row[0] for row in portion), dtype=np.int64, count=len(portion))
            fresh = ~self._known(ids)
            fresh_rows = [row for row, new in zip(portion, fresh.tolist(), strict=True) if new]
            start, end = self._count, self._count + len(fresh_rows)
            self._grow(end)
            joined = np.frombuffer(b"".join(row[2] for row in fresh_rows), dtype="<f4")
            self._matrix[start:end] = joined.reshape(len(fresh_rows), self._dims)
            self._owners[start:end] = [row[1] for row in fresh_rows]
            self._count = end
            ids = np.concatenate([self._ids, ids[fresh]])
            order = np.argsort(ids, kind="stable")
            self._ids = ids[order]
            self._rows = np.concatenate([self._rows, np.arange(start, end)])[order]

    def _grow(self, count: int) -> None:
        if count <= len(self._matrix):
            return
        # With spare room, because growing copies everything. The system does not allocate memory that was never written to.
        size = max(count * 5 // 4, 2 * len(self._matrix))
        matrix = np.empty((size, self._dims), dtype=np.float32)
        owners = np.zeros(size, dtype=np.int64)
        matrix[: self._count] = self._matrix[: self._count]
        owners[: self._count] = self._owners[: self._count]
        self._matrix, self._owners = matrix, owners

    def _compact(self, living: Ids) -> None:
        """Removes vectors that are no longer stored, once the cache has grown by half since the last check.

        An older snapshot may still need one of them; then it is fetched again.
        """
        if self._count < self._checked:
            return
        kept = np.isin(self._ids, living)
        self._checked = max(COMPACT_ABOVE, int(kept.sum()) * 3 // 2)
        if kept.all():
            return
        rows = self._rows[kept]
        self._matrix, self._owners = self._matrix[rows], self._owners[rows]
        self._ids, self._rows = self._ids[kept], np.arange(len(rows))
        self._count = len(rows)


def _likeness(wanted: NDArray[np.float32], rows: Ids, matrix: NDArray[np.float32], owners: Ids) -> Scored:
    # Gathering rows copies them. Above a third of all rows it is cheaper to score every row.
    scores = (matrix @ wanted)[rows] if len(rows) * 3 > len(matrix) else matrix[rows] @ wanted
    return owners[rows], np.clip(scores, -1.0, 1.0)


def nearest(owners: Ids, scores: NDArray[np.float32], wanted: int) -> Iterator[list[tuple[int, float]]]:
    """Yields the nearest owners with their scores, each once, nearest first, in portions.

    The score of an owner is that of its nearest vector. Owners with equal scores are in the order of their ids. The first portion
    has about as many owners as are wanted; further portions are larger, up to all.
    """
    size = 2 * wanted + 64
    while True:
        chosen = np.arange(len(scores))
        if size < len(scores):
            # All owners as near as the last chosen one are chosen too, so that the order of equal scores is stable.
            least = np.partition(scores, len(scores) - size)[len(scores) - size]
            chosen = np.flatnonzero(scores >= least)
        order = chosen[np.lexsort((owners[chosen], -scores[chosen]))]
        _, first = np.unique(owners[order], return_index=True)
        best = order[np.sort(first)]
        yield list(zip(owners[best].tolist(), scores[best].tolist(), strict=True))
        if size >= len(scores):
            return
        size *= 16


def parse_ids(text: Any) -> Ids:
    """Returns the ids in a comma-separated text (or None), sorted."""
    if not text:
        return np.empty(0, dtype=np.int64)
    ids: Ids = np.fromstring(text, dtype=np.int64, sep=",")
    ids.sort()
    return ids
