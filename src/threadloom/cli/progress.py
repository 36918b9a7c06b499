"""Shows how far a long work is: in one line of a terminal, or as a line now and then where there is none.

All of it goes to standard error, so that standard output holds nothing but the result.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

TERMINAL_SECONDS, LINE_SECONDS = 0.2, 10.0
"""How often it is shown on a terminal, and elsewhere. A work that is done sooner is not shown."""

CLEAR = "\r\x1b[K"
"""Empties the line of a terminal."""


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[float], None]]:
    """Shows that the block is at work and for how long, with the part that is done if it is told.

    Args:
        what: the work, as `copying`.

    Yields:
        a function that takes the part that is done, from 0 to 1.
    """
    terminal = sys.stderr.isatty()
    began = time.monotonic()
    done = threading.Event()
    parts: list[float] = []

    def show() -> None:
        while not done.wait(TERMINAL_SECONDS if terminal else LINE_SECONDS):
            part = f"{parts[-1]:.0%}, " if parts else ""
            text = f"{what} … {part}{time.monotonic() - began:.0f} s"
            print(f"{CLEAR}{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def tell(part: float) -> None:
        parts[:] = [part]

    watcher = threading.Thread(target=show, name="threadloom-progress", daemon=True)
    watcher.start()
    try:
        yield tell
    finally:
        done.set()
        watcher.join()
        if terminal:
            print(CLEAR, end="", file=sys.stderr, flush=True)
