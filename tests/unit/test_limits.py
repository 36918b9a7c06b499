"""Users are told apart, and a place that nobody holds any more is free."""

import pytest

from threadloom.config.settings import LimitSettings
from threadloom.errors import TooMany
from threadloom.services.limits import Limits
from threadloom.types import SYSTEM, Caller

ANN, BOB = Caller(user_id="ann"), Caller(user_id="bob")


def test_each_user_has_places_of_their_own():
    limits = Limits(LimitSettings(streams_per_user=1))
    held = limits.open_stream(ANN)
    with pytest.raises(TooMany):
        limits.open_stream(ANN)
    limits.open_stream(BOB).close()
    held.close()
    held.close()
    again = limits.open_stream(ANN)
    with pytest.raises(TooMany):
        limits.open_stream(ANN)
    del again
    limits.open_stream(ANN)


def test_a_new_limit_counts_for_those_who_come():
    limits = Limits(LimitSettings())
    held = [limits.open_stream(ANN) for _ in range(3)]
    limits.apply_settings(LimitSettings(streams_per_user=2), per_user=False)
    held.pop().close()
    with pytest.raises(TooMany):
        limits.open_stream(ANN)
    held.pop().close()
    assert limits.open_stream(ANN)


def test_the_server_itself_has_no_limit_where_users_are_told_apart():
    apart = Limits(LimitSettings(streams_per_user=1), per_user=True)
    held = [apart.open_stream(SYSTEM) for _ in range(3)]
    assert len(held) == 3
    together = Limits(LimitSettings(streams_per_user=1))
    one = together.open_stream(SYSTEM)
    with pytest.raises(TooMany):
        together.open_stream(Caller())
    one.close()
