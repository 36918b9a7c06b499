"""Clocks that tests move."""

import asyncio

from threadloom.clock import SECOND, SystemClock

MORNING = 1_767_258_000 * SECOND
"""2026-01-01 09:00:00 UTC, a Thursday."""


class ManualClock:
    """Stands still until it is moved. Who sleeps on it wakes when it was moved far enough."""

    def __init__(self, moment: int = MORNING) -> None:
        self._moment = moment
        self._passed = 0
        self._sleepers: list[tuple[int, asyncio.Event]] = []
        self._slept = asyncio.Event()

    def now(self) -> int:
        return self._moment

    def steady(self) -> int:
        return self._passed

    def set(self, seconds: float) -> None:
        """Sets the clock forward, or back, by some seconds, in which no time passes."""
        self._moment += int(seconds * SECOND)

    def move(self, seconds: float) -> None:
        """Goes on by some seconds and wakes those whose time has come."""
        self._moment += int(seconds * SECOND)
        self._passed += int(seconds * SECOND)
        for until, event in self._sleepers:
            if until <= self._passed:
                event.set()
        self._sleepers = [(until, event) for until, event in self._sleepers if not event.is_set()]

    async def asleep(self) -> None:
        """Waits until somebody sleeps on this clock."""
        if not self._sleepers:
            self._slept.clear()
            await self._slept.wait()

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._sleepers.append((self._passed + int(seconds * SECOND), event))
        self._slept.set()
        await event.wait()


class SettableClock(SystemClock):
    """The machine's clock, for a server that is to believe that somebody sets it."""

    def __init__(self) -> None:
        self._ahead = 0

    def now(self) -> int:
        return super().now() + self._ahead

    def set(self, seconds: float) -> None:
        """Sets the clock forward, or back, by some seconds."""
        self._ahead += int(seconds * SECOND)
