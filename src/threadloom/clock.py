"""Clocks. They are passed as arguments so that tests can control the time.

A moment is an integer everywhere in the server: microseconds since 1970 (UTC). Moments sort, subtract and store as integers.
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
    """The source of time of the server."""

    def now(self) -> int:
        """Returns the current moment in microseconds since 1970 (UTC). This clock may be set back or forward at any time: use it
        for dates, not for lengths of time. Any thread may call it.
        """
        ...

    def steady(self) -> int:
        """Returns microseconds since some fixed moment. This clock never goes back: use it for lengths of time within a process.
        Any thread may call it.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits for a number of seconds. A test's clock returns as soon as the test has advanced it far enough."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def steady(self) -> int:
        return _steady()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SharedClock:
    """A clock that several machines share, such as the clock of a database.

    Between two synchronizations the time is computed with the steady clock of this machine, which nobody sets. So the processes
    of all machines agree to within about the duration of one query.

    Args:
        ask: returns the shared time, in microseconds since 1970.
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
        """Synchronizes with the shared time. Queries it several times; the quickest response counts."""
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
"""A clock must be set by at least this length to count as a step. The operating system corrects clocks by less all the time."""


class ClockStepDetector:
    """Detects that a clock was set, by comparison with its steady clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.now() - clock.steady()

    def look(self) -> int:
        """Returns by how many microseconds the clock was set since the last call. Negative: back. 0: it was not set."""
        ahead = self._clock.now() - self._clock.steady()
        step = ahead - self._ahead
        self._ahead = ahead
        return step if abs(step) >= STEP else 0


K = TypeVar("K", bound=Hashable)


class SilenceTracker(Generic[K]):
    """Detects silence: signs of life that do not change for too long, such as the leases of lost workers.

    Silence is measured with the observer's own steady clock. The clocks of different processes are never compared, so setting a
    clock makes no key silent. A key that is observed for the first time is not silent.

    Args:
        length: microseconds without a change after which a key is silent.
        gap: the longest time between two calls of `look` that is counted, in microseconds. An observer that was paused, perhaps
            together with the processes that it observes, has observed nothing during the rest of that time.
    """

    def __init__(self, length: int, gap: int) -> None:
        self._length = length
        self._gap = gap
        self._answered: int | None = None
        self._seen: dict[K, tuple[Hashable, int]] = {}

    def look(self, asked: int, answered: int, signs: Mapping[K, Hashable]) -> list[K]:
        """Records the current signs of life, and returns the keys that are silent.

        Args:
            asked: the steady clock before the signs were read.
            answered: the steady clock after the signs were read.
            signs: the signs of all observed keys. Keys that are no longer in it are removed from the tracker.
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
    """Returns a moment in ISO 8601 with microseconds and `+00:00`, the form of all dates in responses.

    Most dates occur more than once, in one record and in several responses, so the latest are cached.
    """
    second, part = divmod(moment, SECOND)
    return f"{_second(second)}.{part:06}+00:00"


@functools.lru_cache(maxsize=256)
def _second(second: int) -> str:
    """The date up to its seconds. Cached, because most calls ask for the same second as the call before."""
    return (_EPOCH + timedelta(seconds=second)).isoformat(timespec="seconds")[:19]


def from_iso(text: str) -> int:
    """Returns the moment of an ISO 8601 text. A text without an offset is in UTC.

    Raises:
        ValueError: the text is not an ISO 8601 moment.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return (parsed - _EPOCH) // timedelta(microseconds=1)
