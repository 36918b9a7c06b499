"""Names code that blocks the event loop, with its line, once a place."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType

log = logging.getLogger("threadloom.watchdog")

LIMIT = 0.5
"""Seconds that the loop may stand still before it is told."""


class Watchdog:
    """Watches the event loop that `start` is called on, from a thread of its own.

    Args:
        limit: seconds of standstill that are too many.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._beat = time.monotonic()
        self._told: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch the running loop."""
        loop = asyncio.get_running_loop()
        watched = threading.get_ident()

        def beat() -> None:
            self._beat = time.monotonic()
            if not self._stop.is_set():
                loop.call_later(self._limit / 2, beat)

        beat()
        self._thread = threading.Thread(target=self._watch, args=(watched,), name="threadloom-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _watch(self, watched: int) -> None:
        while not self._stop.wait(self._limit / 2):
            stalled = time.monotonic() - self._beat
            if stalled < self._limit:
                continue
            frame = sys._current_frames().get(watched)
            if frame is not None:
                self._tell(frame, stalled)

    def _tell(self, frame: FrameType, stalled: float) -> None:
        stack = traceback.extract_stack(frame)
        own = [
            entry for entry in stack if "site-packages" not in entry.filename and "/lib/python" not in entry.filename
        ]
        place = (own or stack)[-1]
        name = f"{place.filename}:{place.lineno}"
        if name in self._told:
            return
        self._told.add(name)
        log.warning(
            "%s in %s has blocked the server for %.1f s: no other request is served meanwhile. Use async calls, "
            "asyncio.to_thread, or BG_JOB_ISOLATED_LOOPS=true. (Told once for this place.)",
            place.name,
            name,
            stalled,
        )
