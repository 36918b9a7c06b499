"""Where a copy is cut: the edge through which a new segment sees a thread up to a position."""

from threadloom.lineage.segments import Chain, Edge


def chain_at(chain: Chain, bound: int) -> Chain:
    """Returns the chain that shows what a chain shows up to a position."""
    return tuple((segment, min(bound, own)) for segment, own in chain)


def edges_at(chain: Chain, bound: int) -> tuple[Edge, Edge | None]:
    """Returns the two candidates for the edge that sees all of a chain up to a position.

    The first one is right if its segment has any row at or below its bound. Otherwise the second one is right; None means that
    there is nothing to see. In this way segments without a visible row are skipped: untouched copies add no depth, and bounds
    strictly grow along every chain. One query is enough to decide: an edge never leads to a segment without visible rows, and
    rows that are visible through an existing edge are never deleted.

    Args:
        chain: the chain of the thread.
        bound: the largest position that the copy sees.
    """
    return next(
        ((segment, min(bound, own)), inherited)
        for (segment, own), inherited in zip(chain, (*chain[1:], None), strict=True)
        if inherited is None or bound > inherited[1]
    )
