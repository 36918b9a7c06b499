"""Pending writes: which of the stored ones are valid, and in which order they are replayed."""

from collections.abc import Iterable
from typing import TypeVar

Row = TypeVar("Row", bound=tuple[object, ...])


def counting(rows: Iterable[Row]) -> list[Row]:
    """Returns the valid writes of one checkpoint, one for each (task, index).

    For an ordinary index the first stored write is valid, for a special one (index < 0) the last.

    Args:
        rows: `(task_id, idx, …)` in order of their positions.
    """
    kept: dict[tuple[object, int], Row] = {}
    for row in rows:
        index = row[1]
        assert isinstance(index, int)
        key = (row[0], index)
        if index < 0 or key not in kept:
            kept[key] = row
    return list(kept.values())


def digests_in_order(rows: Iterable[tuple[str, int, bytes | None, str]]) -> list[tuple[str, int, bytes]]:
    """Returns the digests of the valid writes of one checkpoint in replay order, as `(task_id, idx, digest)`.

    Args:
        rows: `(task_id, idx, digest, path)` in order of their positions.
    """
    kept = sorted(counting(rows), key=lambda row: (row[3], row[0], row[1]))
    return [(task_id, idx, digest or b"") for task_id, idx, digest, _ in kept]
