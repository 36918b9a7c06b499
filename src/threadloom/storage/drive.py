"""Runs transactions that never suspend to their end in one call."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
X = TypeVar("X")


def drive(work: Callable[[X], Awaitable[T]], tx: X) -> T:
    """Runs `work` to its end in one call, because what it awaits of this transaction never suspends.

    Raises:
        RuntimeError: `work` awaited something other than its transaction.
    """
    steps = work(tx).__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a transaction may await nothing but its storage")
