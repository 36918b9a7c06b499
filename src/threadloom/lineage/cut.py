"""Where a copy is cut: the edge by which a new segment sees a thread up to a position."""

from collections.abc import Callable

from threadloom.lineage.segments import Chain, Edge


def edge_at(chain: Chain, bound: int, holds: Callable[[int, int], bool]) -> Edge | None:
    """The edge that sees all of a chain up to a position, None when there is nothing to see.

    Segments that have no row to show are passed over, so that untouched copies add no depth and bounds grow strictly along
    every chain. At most one question is asked of the database: an edge is never made to a strand that shows nothing, and
    rows that a living edge shows never go.

    Args:
        chain: what the thread sees.
        bound: the largest position to be seen.
        holds: whether a segment has any row at or below a position.
    """
    for index, (segment, own) in enumerate(chain):
        inherited = chain[index + 1] if index + 1 < len(chain) else None
        if inherited is not None and bound <= inherited[1]:
            continue
        limit = min(bound, own)
        return (segment, limit) if holds(segment, limit) else inherited
    return None
