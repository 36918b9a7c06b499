"""The chain of a thread: which rows of which segments it sees."""

from collections.abc import Callable

Edge = tuple[int, int]
"""A segment's parent, and the largest position of the parent's rows that is seen."""

Chain = tuple[Edge, ...]
"""(segment, bound) pairs from the head to the root: of each segment the rows at positions up to the bound are seen."""

UNBOUNDED = 2**62
"""The bound of a head: all its rows."""

KEPT_EDGES = 100_000
"""Edges that a process remembers. A few hundred bytes each."""


class Edges:
    """Parent edges by segment, remembered: an edge never changes and a segment's id is never used again.

    Args:
        load: reads the edge of a segment; None for one without parent.
    """

    def __init__(self, load: Callable[[int], Edge | None]) -> None:
        self._load = load
        self._known: dict[int, Edge | None] = {}

    def of(self, segment: int) -> Edge | None:
        """The edge of a segment."""
        try:
            return self._known[segment]
        except KeyError:
            if len(self._known) >= KEPT_EDGES:
                self._known.clear()
            edge = self._known[segment] = self._load(segment)
            return edge

    def chain(self, head: int) -> Chain:
        """All that a thread with this head sees."""
        links: list[Edge] = [(head, UNBOUNDED)]
        edge = self.of(head)
        while edge is not None:
            links.append(edge)
            edge = self.of(edge[0])
        return tuple(links)


def depth(chain: Chain, segment: int, position: int) -> int | None:
    """How many segments from the head a row is seen, None when it is not seen."""
    for index, (link, bound) in enumerate(chain):
        if link == segment:
            return index if position <= bound else None
    return None


def floor(chain: Chain) -> int:
    """The largest inherited position: the head's own rows lie above it."""
    return chain[1][1] if len(chain) > 1 else 0
