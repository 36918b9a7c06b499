"""When a cron fires next. Time is passed in: nothing waits."""

import pytest

from threadloom.clock import SECOND, from_iso, iso
from threadloom.errors import BadRequest, Invalid
from threadloom.services.schedule import (
    check_end_time,
    check_schedule,
    check_timezone,
    following,
    has_ended,
    next_date,
)


def after(schedule, moment, timezone=None):
    return iso(next_date(schedule, timezone, from_iso(moment)))[:19]


@pytest.mark.parametrize(
    ("schedule", "moment", "expected"),
    [
        ("* * * * *", "2026-01-01T09:00:00", "2026-01-01T09:01:00"),
        ("* * * * *", "2026-01-01T09:00:59.999999", "2026-01-01T09:01:00"),
        ("*/5 * * * *", "2026-01-01T09:03:00", "2026-01-01T09:05:00"),
        ("0 9 * * MON-FRI", "2026-01-02T09:00:00", "2026-01-05T09:00:00"),
        ("0 9 * * mon-fri", "2026-01-02T09:00:00", "2026-01-05T09:00:00"),
        ("0 0 1 jan *", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("@hourly", "2026-01-01T09:00:00", "2026-01-01T10:00:00"),
        ("@daily", "2026-01-01T09:00:00", "2026-01-02T00:00:00"),
        ("0 0 L * *", "2026-02-01T00:00:00", "2026-02-28T00:00:00"),
        ("0 0 * * sun#1", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 * * 0", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("30 4 1,15 * *", "2026-01-02T00:00:00", "2026-01-15T04:30:00"),
    ],
)
def test_the_next_date_of_a_schedule(schedule, moment, expected):
    assert after(schedule, moment) == expected


def test_a_sixth_field_is_seconds_and_a_seventh_the_year():
    assert after("* * * * * *", "2026-01-01T09:00:00") == "2026-01-01T09:00:01"
    assert after("* * * * * */20", "2026-01-01T09:00:30") == "2026-01-01T09:00:40"
    assert after("0 0 1 1 * 30 2030", "2026-01-01T09:00:00") == "2030-01-01T00:00:30"


def test_the_next_date_is_never_the_moment_itself():
    assert after("* * * * * *", "2026-01-01T09:00:00.5") == "2026-01-01T09:00:01"
    assert after("* * * * * *", "2026-01-01T09:00:01") == "2026-01-01T09:00:02"


def test_day_of_month_and_weekday_together_mean_either():
    assert after("0 0 13 * FRI", "2026-01-01T12:00:00") == "2026-01-02T00:00:00"
    assert after("0 0 13 * FRI", "2026-01-09T12:00:00") == "2026-01-13T00:00:00"


def test_a_time_zone_shifts_the_date_and_knows_daylight_saving():
    assert after("0 9 * * *", "2026-01-01T00:00:00", "Asia/Tokyo") == "2026-01-02T00:00:00"
    assert after("0 9 * * *", "2026-03-07T20:00:00", "America/New_York") == "2026-03-08T13:00:00"
    assert after("0 9 * * *", "2026-03-06T20:00:00", "America/New_York") == "2026-03-07T14:00:00"


@pytest.mark.parametrize(
    "schedule",
    ["", " ", "soon", "* * * *", "* * * * * * * *", "60 * * * *", "* 25 * * *", "* * 32 * *", "* * * 13 *", "* * * * 8",
     "@reboot", "@every 5s", "H * * * *", "*/0 * * * *", "* * * * * 60", "²  * * * *", "1," * 600 + "1 * * * *"],
)  # fmt: skip
def test_a_schedule_that_makes_no_sense_is_refused(schedule):
    with pytest.raises(Invalid) as refused:
        check_schedule(schedule)
    assert refused.value.status == 422
    assert refused.value.detail.startswith(f"Invalid cron schedule: '{schedule[:1000]}")


def test_a_schedule_that_never_comes_is_readable_but_has_no_date():
    check_schedule("0 0 30 2 *")
    with pytest.raises(BadRequest) as refused:
        next_date("0 0 30 2 *", None, from_iso("2026-01-01"))
    assert (refused.value.status, refused.value.detail) == (400, "failed to find next date")
    assert following("0 0 30 2 *", None, None, from_iso("2026-01-01")) is None


@pytest.mark.parametrize("timezone", ["", "Nope/Zone", "+02:00", "America", "../UTC", "UTC\0", "x" * 5000])
def test_a_time_zone_is_an_iana_name(timezone):
    with pytest.raises(Invalid) as refused:
        check_timezone(timezone)
    assert refused.value.detail.startswith(f"Invalid timezone: '{timezone}'")


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_known_time_zones_pass(timezone):
    check_timezone(timezone)


@pytest.mark.parametrize("end_time", ["", "whenever", "2026", "2026-13-01", "1767225600"])
def test_an_end_is_an_iso_moment(end_time):
    with pytest.raises(Invalid, match="Invalid end_time"):
        check_end_time(end_time)


def test_an_end_without_an_offset_is_utc():
    check_end_time("2026-01-01T09:00:00")
    assert not has_ended("2026-01-01T09:00:00", from_iso("2026-01-01T09:00:00Z"))
    assert has_ended("2026-01-01T09:00:00", from_iso("2026-01-01T09:00:00Z") + 1)
    assert has_ended("2026-01-01T09:00:00+02:00", from_iso("2026-01-01T07:00:01Z"))
    assert not has_ended(None, 10**18)


def test_nothing_follows_after_the_end():
    now = from_iso("2026-01-01T09:00:00")
    assert following("* * * * *", None, "2026-01-01T09:01:00", now) == now + 60 * SECOND
    assert following("* * * * *", None, "2026-01-01T09:00:59", now) is None
    assert following("* * * * *", None, "2020-01-01", now) is None
