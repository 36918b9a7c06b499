"""The chain of a thread: which rows of which segments the thread sees."""

from collections.abc import Callable, Mapping

Edge = tuple[int, int]
"""A segment's parent, and the largest position at which rows of the parent are visible."""

Chain = tuple[Edge, ...]
"""(segment, bound) pairs from the head to the root. Of each segment, the rows at positions up to the bound are visible."""

Branches = Mapping[int, int]
"""The segments of a chain that begin a branch: segment -> the position at which the branch leaves (see `lineage.branches`)."""

UNBOUNDED = 2**62
"""The bound of a head: all its rows are visible."""

KEPT_EDGES = 100_000
"""How many edges a process caches. Each takes a few hundred bytes."""


class Edges:
    """A cache of parent edges by segment. It is never stale: an edge never changes, and a segment id is never reused.

    Args:
        load: reads parent, bound and branch position of a segment; None for a segment without a parent.
    """

    def __init__(self, load: Callable[[int], tuple[int, int, int | None] | None]) -> None:
        self._load = load
        self._known: dict[int, Edge | None] = {}
        self._branches: dict[int, int] = {}

    def of(self, segment: int) -> Edge | None:
        """Returns the edge of a segment."""
        try:
            return self._known[segment]
        except KeyError:
            if len(self._known) >= KEPT_EDGES:
                self._known.clear()
                self._branches.clear()
            loaded = self._load(segment)
            if loaded is not None and loaded[2] is not None:
                self._branches[segment] = loaded[2]
            edge = self._known[segment] = None if loaded is None else loaded[:2]
            return edge

    def chain(self, head: int) -> Chain:
        """Returns the chain of a thread with this head."""
        links: list[Edge] = [(head, UNBOUNDED)]
        edge = self.of(head)
        while edge is not None:
            links.append(edge)
            edge = self.of(edge[0])
        return tuple(links)

    def branches(self, chain: Chain) -> Branches:
        """Returns the branches of a chain that `chain` returned."""
        if not self._branches:
            return {}
        return {segment: self._branches[segment] for segment, _ in chain if segment in self._branches}


def depth(chain: Chain, segment: int, position: int) -> int | None:
    """Returns in which segment of the chain a row is visible, counted from the head (0); None if it is not visible."""
    for index, (link, bound) in enumerate(chain):
        if link == segment:
            return index if position <= bound else None
    return None


def inherited_at(chain: Chain, position: int) -> int:
    """Returns the largest position that the segment of a visible row inherits."""
    return next((bound for _, bound in chain if bound < position), 0)


def floor(chain: Chain) -> int:
    """Returns the largest inherited position. All rows of the head itself have larger positions."""
    return chain[1][1] if len(chain) > 1 else 0
