"""Retries after storage errors, because the database may be back in a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from threadloom.errors import StorageError

T = TypeVar("T")

DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts."""


async def with_retries(act: Callable[[], Awaitable[T]], *, longer: Callable[[], bool] = lambda: False) -> T:
    """Calls a function and retries it after storage errors. The function must be safe to call twice.

    Args:
        longer: returns whether to retry for more than a quarter of a minute; called before each further attempt.

    Raises:
        StorageError: the database still fails after that time.
    """
    for delay in DELAYS:
        try:
            return await act()
        except StorageError:
            await asyncio.sleep(delay)
    while longer():
        try:
            return await act()
        except StorageError:
            await asyncio.sleep(DELAYS[-1])
    return await act()
