"""What the branches of a chain show.

A fork in place adds a segment with a position, at which its branch leaves. The whole chain is the thread's history. Of that, a
branch shows what was there at the position, and its own rows: what a copy that ends at the position would see.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from threadloom.lineage.segments import UNBOUNDED, Branches, Chain, Edge, depth


def current(chain: Chain, branches: Branches, at: int = UNBOUNDED) -> Chain:
    """Returns the part of a chain that its newest branch shows.

    Args:
        at: shows the thread as it was at this position: on the branch that was the newest then.
    """
    if not branches and at == UNBOUNDED:
        return chain
    return Views(chain, branches).current(at)


class Views:
    """What each branch of a chain shows. Views are made when they are needed, and remembered."""

    def __init__(self, chain: Chain, branches: Branches) -> None:
        self._chain = chain
        self._branches = branches
        self._floors = [-floor for floor in _floors(chain)]
        self._views: list[Mapping[int, int]] = []

    def current(self, at: int = UNBOUNDED) -> Chain:
        """Returns what the newest branch shows, or showed at a position."""
        return tuple(self._links(0, at))

    def showing(self, position: int) -> Chain:
        """Returns what the newest branch shows that shows a row of the chain."""
        index = self._index(position)
        segment = self._chain[index][0]
        for start in range(index):
            if self._view(start).get(segment, 0) >= position:
                return tuple(self._view(start).items())
        return tuple(self._links(index, UNBOUNDED))

    def shows(self, view: Chain, position: int) -> bool:
        """Returns whether a view shows a row of the chain."""
        return depth(view, self._chain[self._index(position)][0], position) is not None

    def _view(self, start: int) -> Mapping[int, int]:
        """Returns what the branch shows whose newest segment is the one at an index of the chain."""
        while len(self._views) <= start:
            self._views.append(dict(self._links(len(self._views), UNBOUNDED)))
        return self._views[start]

    def _index(self, position: int) -> int:
        """Returns the index of the link whose segment has a row of the chain."""
        return min(bisect_left(self._floors, 1 - position), len(self._chain) - 1)

    def _links(self, start: int, at: int) -> list[Edge]:
        links: list[Edge] = []
        limit = at
        index = start
        while index < len(self._chain) and limit > 0:
            segment, bound = self._chain[index]
            limit = min(limit, bound)
            if limit > -self._floors[index]:
                links.append((segment, limit))
                limit = self._branches.get(segment, limit)
            # Segments above, whose rows all came later, are skipped.
            index = max(index + 1, self._index(limit))
        return links


def _floors(chain: Chain) -> list[int]:
    """Returns for each link of a chain the largest position that its segment inherits."""
    return [*(bound for _, bound in chain[1:]), 0]


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
        Part(max(floor, lower), bound, branches.get(segment) if floor >= lower else None)
        for (segment, bound), floor in reversed(list(zip(chain, _floors(chain), strict=True)))
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


def counting_rows(views: Views, position: int, origin: Chain = ()) -> Callable[[int], bool]:
    """Returns what tells whether a pending write of a checkpoint counts, by the write's position.

    Args:
        position: that of the checkpoint.
        origin: the view that is read. If it does not show the checkpoint, the newest branch that does counts.
    """
    view = origin if views.shows(origin, position) else views.showing(position)
    return lambda write: views.shows(view, write)
