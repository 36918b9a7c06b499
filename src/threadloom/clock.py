"""Time, passed in so that tests can move it.

Moments are whole microseconds since 1970 (UTC) everywhere inside: they sort, subtract and store as plain integers.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

SECOND = 1_000_000
MINUTE = 60 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where the server gets the time from."""

    def now(self) -> int:
        """Returns the moment in microseconds since 1970 (UTC). It may be set back or forward at any time: use it for
        dates, not for lengths of time. Any thread may call it.
        """
        ...

    def steady(self) -> int:
        """Returns microseconds since some fixed moment. It never goes back: use it for lengths of time within a
        process. Any thread may call it.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits for so many seconds. A test's clock returns as soon as it was moved far enough."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def steady(self) -> int:
        return _steady()

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

    def steady(self) -> int:
        return _steady()

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

STEP = SECOND
"""What a clock must have been set by to count as a step. Less is what the correction of clocks does all the time."""


class ClockStepDetector:
    """Notices that a clock was set, by its own steady clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.now() - clock.steady()

    def look(self) -> int:
        """By how many microseconds the clock was set since the last look; below 0: back. 0: it was not."""
        ahead = self._clock.now() - self._clock.steady()
        step = ahead - self._ahead
        self._ahead = ahead
        return step if abs(step) >= STEP else 0


K = TypeVar("K", bound=Hashable)


class SilenceTracker(Generic[K]):
    """Watches signs of life that change as long as somebody lives, such as the leases of workers. Who is silent for too long by
    the observer's own steady clock is taken for dead. The clocks of different processes are never compared, so a clock that is
    set makes nobody silent, and nobody is silent who was seen for the first time.

    Args:
        length: microseconds without a change that make silent.
        gap: what the time between two looks counts for at most (microseconds). An observer that was paused itself, perhaps
            together with those it watches, has seen nothing of that time.
    """

    def __init__(self, length: int, gap: int) -> None:
        self._length = length
        self._gap = gap
        self._answered: int | None = None
        self._seen: dict[K, tuple[Hashable, int]] = {}

    def look(self, asked: int, answered: int, signs: Mapping[K, Hashable]) -> list[K]:
        """Takes down what is there now, and gives who is silent.

        Args:
            asked: the steady clock before the signs were asked for.
            answered: the steady clock when they had come.
            signs: the signs of all who are watched. Who is not among them any more is forgotten.
        """
        passed = 0 if self._answered is None else max(0, min(asked - self._answered, self._gap))
        self._answered = answered
        before, self._seen = self._seen, {}
        for key, sign in signs.items():
            last, silent = before.get(key, (None, 0))
            self._seen[key] = (sign, silent + passed if key in before and last == sign else 0)
        return [key for key, (_, silent) in self._seen.items() if silent >= self._length]


def _steady() -> int:
    return time.monotonic_ns() // 1000


@functools.lru_cache(maxsize=4096)
def iso(moment: int) -> str:
    """ISO 8601 with microseconds and `+00:00`, the form of every date on the wire. A record has most of its dates more than once,
    and is shown more than once, so the latest are kept."""
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
