"""Which attempt of a run is its last: one rule for claiming, executing, giving back and giving up."""

import pytest

from tests.contract.test_runs import run
from threadloom.engine.attempts import Attempts


@pytest.mark.parametrize(
    ("most", "attempt", "last", "risky", "read"),
    [
        (1, 1, True, False, True),
        (1, 3, True, False, False),
        (3, 1, False, False, True),
        (3, 2, False, False, True),
        (3, 3, True, True, True),
        (3, 4, True, True, True),
        (3, 5, True, True, False),
        (0, 1, True, False, True),
    ],
)
def test_what_an_attempt_is(most, attempt, last, risky, read):
    attempts, one = Attempts(most), run(attempt=attempt)
    assert (attempts.is_last(one), attempts.is_risky(one), attempts.may_call_graph(one)) == (last, risky, read)


@pytest.mark.parametrize(("most", "before"), [(0, None), (1, None), (2, 1), (3, 2)])
def test_a_waiting_run_is_told_apart_by_the_attempts_behind_it(most, before):
    assert Attempts(most).before_last == before
