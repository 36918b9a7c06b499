"""Where a copy is cut: the edge by which a new segment sees a thread up to a position."""

from threadloom.lineage.segments import Chain, Edge


def edges_at(chain: Chain, bound: int) -> tuple[Edge, Edge | None]:
    """The two edges that can see all of a chain up to a position, of which one is right.

    It is the first if its segment has any row at or below its bound, otherwise the second, None when there is nothing to see. So
    segments that have no row to show are passed over: untouched copies add no depth, and bounds grow strictly along every chain.
    One question to the database is enough: an edge is never made to a segment that shows nothing, and rows that a living edge
    shows never go.

    Args:
        chain: what the thread sees.
        bound: the largest position to be seen.
    """
    return next(
        ((segment, min(bound, own)), inherited)
        for (segment, own), inherited in zip(chain, (*chain[1:], None), strict=True)
        if inherited is None or bound > inherited[1]
    )
