"""Shows the progress of a long operation: in one line of a terminal, or elsewhere as a line from time to time.

Everything goes to standard error, so that standard output holds only the result.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

TERMINAL_SECONDS, LINE_SECONDS = 0.2, 10.0
"""Seconds between updates on a terminal, and elsewhere. An operation that ends sooner is not shown."""

CLEAR = "\r\x1b[K"
"""Clears the line of a terminal."""


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[float], None]]:
    """Shows that the block is running, for how long, and its progress if it reports any.

    Args:
        what: the operation, as `copying`.

    Yields:
        a function that takes the completed part, from 0 to 1.
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
