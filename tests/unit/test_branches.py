"""What branches show, against the definition."""

from hypothesis import given, settings
from hypothesis import strategies as st

from threadloom.lineage.branches import Views
from threadloom.lineage.segments import UNBOUNDED


@st.composite
def chains(draw):
    """A chain whose segments have rows at all positions between their floor and bound, and the branches of it."""
    bounds = sorted(draw(st.sets(st.integers(1, 40), max_size=6)), reverse=True)
    chain = [(100, UNBOUNDED), *((100 - index, bound) for index, bound in enumerate(bounds, 1))]
    branches = {}
    for (segment, _), bound in zip(chain, bounds, strict=False):
        if draw(st.booleans()):
            branches[segment] = draw(st.integers(0, bound))
    return tuple(chain), branches


def rows_of(chain, branches, start, at=UNBOUNDED):
    """The positions that a branch shows, up to 50."""
    floors = [*(bound for _, bound in chain[1:]), 0]
    shown, limit = set(), min(at, 50)
    for index in range(start, len(chain)):
        segment, bound = chain[index]
        own = set(range(floors[index] + 1, min(bound, limit) + 1))
        if own:
            shown |= own
            limit = branches.get(segment, limit)
    return shown


@settings(max_examples=200, deadline=None)
@given(case=chains(), at=st.integers(1, 50))
def test_a_view_has_the_rows_of_its_branch(case, at):
    chain, branches = case
    views = Views(chain, branches)
    for position in range(1, 51):
        assert views.shows(views.current(at), position) == (position in rows_of(chain, branches, 0, at))
    newest = next(rows for start in range(len(chain)) if at in (rows := rows_of(chain, branches, start)))
    shown = views.showing(at)
    assert {position for position in range(1, 51) if views.shows(shown, position)} == newest
