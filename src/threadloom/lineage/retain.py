"""What a prune to the newest checkpoint has to keep.

Most checkpoints do not store the value of a LangGraph delta channel. The value is the nearest one stored by an ancestor, plus all
writes since. A prune keeps the ancestors down to that one with their writes; without them the channel would read as empty.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from threadloom.lineage.segments import UNBOUNDED


class Node(NamedTuple):
    """The fields of a checkpoint that decide what is kept. `stored` are the channels whose value it stores."""

    pos: int
    namespace: str
    checkpoint_id: str
    parent: str | None
    stored: Collection[str]
    meta: Mapping[str, Any]


def unstored(node: Node) -> set[str]:
    """Returns the delta channels of a checkpoint whose value must be read from ancestors.

    In the metadata of each checkpoint, LangGraph counts for each delta channel the steps since its value was stored. No count
    means that the value was stored there, or that the channel was never written.
    """
    counters = node.meta.get("counters_since_delta_snapshot")
    return set(counters) - set(node.stored) if isinstance(counters, Mapping) else set()


def missing_below(path: Iterable[Node]) -> set[str]:
    """Returns the delta channels that must be read from ancestors of a path of checkpoints, so that each of them can be read.

    Args:
        path: checkpoints, each followed by its parent.
    """
    missing: set[str] = set()
    for node in path:
        missing.difference_update(node.stored)
        missing |= unstored(node)
    return missing


T = TypeVar("T")


def span(spans: Mapping[T, int], run: T) -> tuple[int, int]:
    """Returns the positions `[first, end)` at which a run wrote on a thread. Empty for a run that did not write.

    The span ends where the next run begins, because runs of a thread never overlap.

    Args:
        spans: the first position of each run of the thread.
    """
    first = spans.get(run, 0)
    if not first:
        return 0, 0
    return first, min((other for other in spans.values() if other > first), default=UNBOUNDED)


def moved(spans: Mapping[T, int], positions: Mapping[int, int]) -> dict[T, int]:
    """Returns the first position of each run of a thread after its rows were copied to new positions.

    Runs without any remaining row are absent.

    Args:
        spans: the first position of each run.
        positions: old position -> new position of the rows that were kept.
    """
    order = sorted(positions)
    begins: dict[T, int] = {}
    for run in spans:
        first, end = span(spans, run)
        place = bisect_left(order, first)
        if place < len(order) and order[place] < end:
            begins[run] = positions[order[place]]
    return begins
