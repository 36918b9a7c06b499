"""Not giving up at once when the database cannot be reached: it may be back in a moment."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

from threadloom.errors import StorageError

T = TypeVar("T")

DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between one try and the next."""


async def patiently(act: Callable[[], Awaitable[T]], *, always: bool = False) -> T:
    """Does something, and again after a while when the database refuses. Only for what may be done twice.

    Args:
        always: never give up.

    Raises:
        StorageError: it still refuses after a quarter of a minute.
    """
    for delay in itertools.chain(DELAYS, itertools.repeat(DELAYS[-1])) if always else DELAYS:
        try:
            return await act()
        except StorageError:
            await asyncio.sleep(delay)
    return await act()
