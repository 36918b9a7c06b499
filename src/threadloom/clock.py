"""Time, passed in so that tests can move it.

Moments are whole microseconds since 1970 (UTC) everywhere inside: they sort, subtract and store as plain integers.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
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


class SharedClock:
    """The time of something that several machines share, such as a database: between two looks at it this machine's steady
    clock, which nobody sets, goes on from there. So the processes of all machines agree to within about the time that a
    question takes.

    Args:
        ask: gives the time there.
    """

    def __init__(self, ask: Callable[[], Awaitable[int]]) -> None:
        self._ask = ask
        self._ahead = time.time_ns() // 1000 - _steady()

    def now(self) -> int:
        return _steady() + self._ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Looks at the shared time. Of some answers the one that came quickest counts."""
        quickest: tuple[int, int] | None = None
        for _ in range(LOOKS):
            asked = _steady()
            there = await self._ask()
            took = _steady() - asked
            if quickest is None or took < quickest[0]:
                quickest = took, there - asked - took // 2
        assert quickest is not None
        self._ahead = quickest[1]


LOOKS = 5


def _steady() -> int:
    return time.monotonic_ns() // 1000


def iso(moment: int) -> str:
    """ISO 8601 with microseconds and `+00:00`, the form of every date on the wire."""
    second, part = divmod(moment, SECOND)
    return f"{_second(second)}.{part:06}+00:00"


@functools.lru_cache(maxsize=256)
def _second(second: int) -> str:
    """The most part of a date, and mostly the same as a moment ago."""
    return (_EPOCH + timedelta(seconds=second)).isoformat(timespec="seconds")[:19]


def from_iso(text: str) -> int:
    """The moment an ISO 8601 text names; without an offset it is taken as UTC.

    Raises:
        ValueError: the text is no ISO 8601 moment.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return (parsed - _EPOCH) // timedelta(microseconds=1)
