"""Not giving up at once when the database cannot be reached: it may be back in a moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from threadloom.errors import StorageError

T = TypeVar("T")

DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between one try and the next."""


async def with_retries(act: Callable[[], Awaitable[T]], *, longer: Callable[[], bool] = lambda: False) -> T:
    """Does something, and again after a while when the database refuses. Only for what may be done twice.

    Args:
        longer: whether to go on after a quarter of a minute too; asked before each further try.

    Raises:
        StorageError: it still refuses after that time.
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
