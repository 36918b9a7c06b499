"""What a prune to the newest checkpoint has to keep.

LangGraph's delta channels have no value in most checkpoints: theirs is the nearest stored one among the ancestors and all
writes since. Ancestors down to there are kept with their writes, or the state would read as empty.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from threadloom.lineage.segments import UNBOUNDED


class Node(NamedTuple):
    """A checkpoint, as far as keeping it is concerned. `stored` are the channels whose value it holds."""

    pos: int
    namespace: str
    checkpoint_id: str
    parent: str | None
    stored: Collection[str]
    meta: Mapping[str, Any]


def unstored(node: Node) -> set[str]:
    """Delta channels of a checkpoint that ancestors have to be read for.

    LangGraph counts, for each delta channel and in the metadata of each checkpoint, the steps since its value was stored; no
    count means that it was stored there, or never written.
    """
    counters = node.meta.get("counters_since_delta_snapshot")
    return set(counters) - set(node.stored) if isinstance(counters, Mapping) else set()


T = TypeVar("T")


def span(spans: Mapping[T, int], run: T) -> tuple[int, int]:
    """The positions `[first, end)` at which a run wrote on a thread: up to where the next one begins, for runs of a thread
    never overlap. Empty for a run that did not write.

    Args:
        spans: the first position of each run of the thread.
    """
    first = spans.get(run, 0)
    if not first:
        return 0, 0
    return first, min((other for other in spans.values() if other > first), default=UNBOUNDED)


def moved(spans: Mapping[T, int], positions: Mapping[int, int]) -> dict[T, int]:
    """Where the runs of a thread begin after its rows were stored anew; runs that nothing is left of are absent.

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
