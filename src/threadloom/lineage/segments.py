"""The chain of a thread: which rows of which segments the thread sees."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Edge = tuple[int, int]
"""A segment's parent, and the largest position at which rows of the parent are visible."""

Chain = tuple[Edge, ...]
"""(segment, bound) pairs from the head to the root. Of each segment, the rows at positions up to the bound are visible."""

Branches = Mapping[int, int]
"""The segments of a chain that begin a branch: segment -> the position at which the branch leaves what came before it."""

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


def current(chain: Chain, branches: Branches, at: int = UNBOUNDED) -> Chain:
    """Returns the part of a chain that its newest branch shows: what was there where the branch begins, and what came after that.

    Args:
        at: shows the thread as it was at this position: on the branch that was the newest then.
    """
    if not branches and at == UNBOUNDED:
        return chain
    links: list[Edge] = []
    limit = at
    for (segment, bound), inherited in _inherited(chain):
        limit = min(limit, bound)
        if limit > inherited:
            links.append((segment, limit))
            limit = branches.get(segment, limit)
    return tuple(links)


def showing(chain: Chain, branches: Branches, position: int) -> Chain:
    """Returns the part of a chain that the newest branch shows that shows a row of the chain."""
    if branches:
        for start in range(len(chain)):
            shown = current(chain[start:], branches)
            if shows(chain, shown, position):
                return shown
    return chain


def shows(chain: Chain, part: Chain, position: int) -> bool:
    """Returns whether a part of a chain, as `current` and `showing` return it, shows a row of the chain."""
    for (segment, bound), inherited in _inherited(chain):
        if inherited < position <= bound:
            return depth(part, segment, position) is not None
    return False


def _inherited(chain: Chain) -> Sequence[tuple[Edge, int]]:
    """Returns each link of a chain with the largest position that its segment inherits."""
    return list(zip(chain, [*(bound for _, bound in chain[1:]), 0], strict=True))


class Part(NamedTuple):
    """The rows of a segment at positions above `first` and up to `last`. `branch_at`: a branch begins with it, which leaves at
    this position.
    """

    first: int
    last: int
    branch_at: int | None


def parts_above(chain: Chain, branches: Branches, lower: int) -> list[Part]:
    """Returns the parts of a chain above a position, oldest first."""
    return [
        Part(max(inherited, lower), bound, branches.get(segment) if inherited >= lower else None)
        for (segment, bound), inherited in reversed(_inherited(chain))
        if bound > lower
    ]


def moved_branch(at: int, parts: Sequence[Part], positions: Mapping[int, int]) -> int:
    """Returns where a branch leaves after rows were copied to new positions: after the newest of those that were kept.

    Args:
        at: where it left.
        parts: as `parts_above` returns them. Rows below them stay where they are.
        positions: old position -> new position of the rows that were kept.
    """
    while (part := next((part for part in parts if part.first < at <= part.last), None)) is not None:
        kept = [new for old, new in positions.items() if part.first < old <= at]
        if kept:
            return max(kept)
        at = part.first if part.branch_at is None else part.branch_at
    return at


def depth(chain: Chain, segment: int, position: int) -> int | None:
    """Returns in which segment of the chain a row is visible, counted from the head (0); None if it is not visible."""
    for index, (link, bound) in enumerate(chain):
        if link == segment:
            return index if position <= bound else None
    return None


def floor(chain: Chain) -> int:
    """Returns the largest inherited position. All rows of the head itself have larger positions."""
    return chain[1][1] if len(chain) > 1 else 0
