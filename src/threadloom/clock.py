"""Time, passed in so that tests can move it.

Moments are whole microseconds since 1970 (UTC) everywhere inside: they sort, subtract and store as plain integers.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where the server gets the time from."""

    def now(self) -> int:
        """The moment, in microseconds since 1970 (UTC)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits. A test's clock may return as soon as it was moved far enough."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def iso(moment: int) -> str:
    """ISO 8601 with microseconds and `+00:00`, the form of every date on the wire."""
    return (_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds")


def from_iso(text: str) -> int:
    """The moment an ISO 8601 text names; without an offset it is taken as UTC.

    Raises:
        ValueError: the text is no ISO 8601 moment.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return (parsed - _EPOCH) // timedelta(microseconds=1)
