"""Schedules: computes the next date of a cron. All functions are pure; the moment to count from is an argument.

A schedule is an expression of `croniter`: five fields, or six with the seconds last, or seven with the year last; names of months
and days, `@hourly` and similar, `L`, `sun#1`. It is evaluated in a time zone with daylight saving time. Moments are UTC.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from threadloom.clock import MINUTE, SECOND, from_iso
from threadloom.errors import BadRequest, Invalid
from threadloom.services.requests.bounds import NAME

SELDOM = 3 * 60 * MINUTE
"""A cron that fires less often than once in this time fires seldom."""

_START = 1_000_000_000 * SECOND
"""A fixed moment for validating schedules."""


def check_schedule(schedule: str) -> None:
    """Checks that a schedule is valid.

    Raises:
        Invalid: it is not.
    """
    try:
        if len(schedule) > NAME.most:
            raise ValueError(f"it is longer than {NAME.most} characters")
        _iterator(schedule, None, _START).get_next(datetime)
    except CroniterBadDateError:
        return
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        shown = schedule if len(schedule) <= NAME.most else f"{schedule[: NAME.most]}…"
        raise Invalid(
            f"Invalid cron schedule: '{shown}'. Expected 5 fields (minute hour day month weekday), "
            f"6 with seconds last or 7 with the year last: {error}"
        ) from None


def check_timezone(timezone: str) -> None:
    """Checks that a time zone is known.

    Raises:
        Invalid: it is not.
    """
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise Invalid(f"Invalid timezone: '{timezone}'. Expected an IANA name such as 'America/New_York'") from None


def check_end_time(end_time: str) -> None:
    """Checks that an end is a moment.

    Raises:
        Invalid: it is not.
    """
    try:
        from_iso(end_time)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid end_time: '{end_time}'. Expected an ISO 8601 moment") from None


def next_date(schedule: str, timezone: str | None, after: int) -> int:
    """Returns the first moment of a schedule later than `after`, in microseconds.

    Raises:
        BadRequest: there is none within the 50 years that are searched.
    """
    try:
        found = _iterator(schedule, timezone, after).get_next(datetime)
    except (CroniterBadDateError, OverflowError):
        raise BadRequest("failed to find next date") from None
    return from_iso(found.isoformat())


def has_ended(end_time: str | None, moment: int) -> bool:
    """Returns whether a moment is after an end. None is no end."""
    return end_time is not None and moment > from_iso(end_time)


def following(schedule: str, timezone: str | None, end_time: str | None, after: int) -> int | None:
    """Returns when a cron fires first after a moment; None if it never does, by its schedule or by its end."""
    try:
        found = next_date(schedule, timezone, after)
    except BadRequest:
        return None
    return None if has_ended(end_time, found) else found


def set_back(schedule: str, timezone: str | None, end_time: str | None, fired: int | None, now: int) -> int | None:
    """Returns when a cron fires next after the clock was set back.

    Dates that come a second time fire again, as with cron daemons, if the cron fires often. A cron that fires seldom (`SELDOM`)
    and has fired on such a date does not repeat it, unless the clock was wrong by more than that.

    Args:
        fired: when it fired last.
    """
    if fired is not None and now < fired <= now + SELDOM:
        found = following(schedule, timezone, end_time, fired)
        if found is None or found - fired > SELDOM:
            return found
    return following(schedule, timezone, end_time, now)


def _iterator(schedule: str, timezone: str | None, after: int) -> croniter:
    # Whole seconds: the iterator returns the first match after them, and matches are whole seconds, so the fraction cannot
    # hide one.
    start = datetime.fromtimestamp(after // SECOND, ZoneInfo(timezone or "UTC"))
    return croniter(schedule, start)
