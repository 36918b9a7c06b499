"""A cache of vectors for exact search: one matrix in memory, filled from what searches ask for.

A stored vector never changes and its id is never used again, so what is cached is never wrong: which ids count is asked of
the database each time, within the reader's own snapshot. That keeps it right beside writers, among several readers, and
after a restart, without anybody telling it of a change.
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
"""Owners of vectors, and how like the query each vector is."""

COMPACT_ABOVE = 4096
"""Rows from which on it is worth looking for vectors that are gone."""

PORTION = 8192
"""Rows that are read and put into the matrix at a time."""


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
        self._rows: Ids = np.empty(0, dtype=np.int64)  # of the matrix, in the order of _ids

    def __len__(self) -> int:
        return self._count

    # Used in steps, for a database that is waited for in between. Another search may come between two steps: whoever finds
    # something missing again begins again.

    def missing(self, dims: int, ids: Ids) -> Ids:
        """Those of the ids whose vectors, of length `dims`, are not cached."""
        with self._lock:
            if dims != self._dims:
                self._clear(dims)
            missing = ids[~self._known(ids)]
            self._grow(self._count + len(missing))
            return missing

    def add(self, dims: int, fetched: Fetched) -> None:
        """Caches vectors of length `dims`, if that is still the length asked for."""
        with self._lock:
            if dims == self._dims:
                self._add(fetched)

    @property
    def crowded(self) -> bool:
        """Whether it is time to look which vectors are still stored."""
        return self._count >= self._checked

    def compact(self, dims: int, living: Ids) -> None:
        """Drops all but the vectors that are stored, if `dims` is still the length asked for."""
        with self._lock:
            if dims == self._dims:
                self._compact(living)

    def score(self, query: bytes, ids: Ids) -> Scored | None:
        """The owners of the vectors `ids` and their likeness to `query` (float32, little-endian, of unit length), in the order
        of `ids`. None when one of them is not cached."""
        wanted = np.frombuffer(query, dtype="<f4")
        with self._lock:
            if len(wanted) != self._dims or not self._known(ids).all():
                return None
            view = self._view(ids)
        return _likeness(wanted, *view)

    def _view(self, ids: Ids) -> tuple[Ids, NDArray[np.float32], Ids]:
        """Which rows the vectors are in, and the rows. Rows are only ever appended, to these arrays or to new ones: a view
        stays as it is."""
        return self._rows[np.searchsorted(self._ids, ids)], self._matrix[: self._count], self._owners

    def _known(self, ids: Ids) -> NDArray[np.bool_]:
        if not len(self._ids):
            return np.zeros(len(ids), dtype=np.bool_)
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        found: NDArray[np.bool_] = self._ids[places] == ids
        return found

    def _add(self, fetched: Fetched) -> None:
        # In portions, so that what was read is not held a second time as a whole.
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
        # With room to grow, for growing copies everything. Memory that was never written to is not taken from the system.
        size = max(count * 5 // 4, 2 * len(self._matrix))
        matrix = np.empty((size, self._dims), dtype=np.float32)
        owners = np.zeros(size, dtype=np.int64)
        matrix[: self._count] = self._matrix[: self._count]
        owners[: self._count] = self._owners[: self._count]
        self._matrix, self._owners = matrix, owners

    def _compact(self, living: Ids) -> None:
        """Drops vectors that are no longer stored, once the cache has grown by half since the last look.

        An older snapshot may still ask for one of them; then it is fetched again.
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
    # Gathering rows copies them: above a third of all it is cheaper to score every row.
    scores = (matrix @ wanted)[rows] if len(rows) * 3 > len(matrix) else matrix[rows] @ wanted
    return owners[rows], np.clip(scores, -1.0, 1.0)


def nearest(owners: Ids, scores: NDArray[np.float32], wanted: int) -> Iterator[list[tuple[int, float]]]:
    """The nearest owners with their scores, each once, nearest first: an owner is as near as its nearest vector, and equals
    stand in the order of their ids. First about as many as are wanted, then, if that was not enough, more, in the end all.
    """
    size = 2 * wanted + 64
    while True:
        chosen = np.arange(len(scores))
        if size < len(scores):
            # All that are as near as the last of the chosen are chosen too, so that equals do not come and go.
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
    """The ids of a comma-joined text (or None), sorted."""
    if not text:
        return np.empty(0, dtype=np.int64)
    ids: Ids = np.fromstring(text, dtype=np.int64, sep=",")
    ids.sort()
    return ids
