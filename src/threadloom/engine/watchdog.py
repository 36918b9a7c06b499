"""Logs code of the app that blocks the event loop, with its line. Logs another cause when the app's code is not to blame."""

import asyncio
import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import msgspec

from threadloom.graphs.process import is_users

log = logging.getLogger("threadloom.watchdog")

LIMIT = 0.5
"""Seconds that the event loop may be blocked before it is logged."""

REPEAT_SECONDS = 60.0
"""A block that no line of the app caused is logged at most once in this time."""

NANOSECONDS = 1_000_000_000

CURE = "Use async calls, asyncio.to_thread, or BG_JOB_ISOLATED_LOOPS=true. (Told once for this line.)"


class LoopStall(msgspec.Struct, frozen=True):
    """Measurements of an event loop that is blocked. All times are in seconds.

    Attributes:
        stalled: since the loop last ran a callback.
        watched_late: by how much the watching thread itself woke up late.
        cpu: processor time that the loop's thread used since; None where that cannot be measured.
        process_cpu: processor time that the whole process used since.
        queued: how long the loop's thread was ready to run and got no processor; None where that cannot be measured.
    """

    stalled: float
    watched_late: float
    cpu: float | None
    process_cpu: float
    queued: float | None

    @property
    def machine_is_busy(self) -> bool:
        """Whether the process got no processor time, or was stopped: then no code is to blame."""
        most = self.stalled / 2
        if self.queued is not None and self.queued >= most:
            return True
        return self.watched_late >= most and self.process_cpu < most

    def explain(self) -> str:
        """Returns the cause in words, for the case that no line of the app is to blame."""
        most = self.stalled / 2
        stood = f"the event loop stood still for {self.stalled:.1f} s"
        if not self.machine_is_busy:
            if self.cpu is not None and self.cpu >= most:
                return f"{stood}, busy with the server's own work"
            if self.process_cpu >= most:
                return f"{stood}: another thread of this process kept the interpreter busy"
        return f"the machine is busy: {stood}, and the process used {self.process_cpu:.1f} s of processor time in it"


class Watchdog:
    """Watches the event loop that `start` is called on, from a thread of its own.

    Args:
        limit: seconds that the loop may be blocked.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._reported: set[str] = set()
        self._reported_at = -REPEAT_SECONDS
        self._stop = threading.Event()
        self._paused = 0
        self._thread: threading.Thread | None = None
        self._loop_thread = 0
        self._task: Path | None = None
        self._beat = 0.0
        self._process_cpu = 0.0
        self._cpu: float | None = None
        self._queued: float | None = None

    def start(self) -> None:
        """Begins to watch the running loop. Called once the server is ready."""
        loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._task = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

        def beat() -> None:
            self._note_beat()
            if not self._stop.is_set():
                loop.call_later(self._limit / 2, beat)

        beat()
        self._thread = threading.Thread(target=self._watch, name="threadloom-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suppresses reports within the block. Entered and left on the loop."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1
            self._note_beat()

    def _note_beat(self) -> None:
        self._process_cpu = time.process_time()
        self._cpu = self._thread_cpu()
        self._queued = self._thread_queued()
        self._beat = time.monotonic()

    def _thread_cpu(self) -> float | None:
        """Returns the processor time of the loop's thread so far, in seconds."""
        if sys.platform != "linux":
            return None
        return time.clock_gettime(time.pthread_getcpuclockid(self._loop_thread))

    def _thread_queued(self) -> float | None:
        """Returns how long the loop's thread has waited for a processor so far, in seconds. Linux only, if its kernel measures
        it.
        """
        try:
            return int(self._task.read_text().split()[1]) / NANOSECONDS if self._task else None
        except (OSError, ValueError, IndexError):
            return None

    def _watch(self) -> None:
        wait = self._limit / 2
        while True:
            began = time.monotonic()
            if self._stop.wait(wait):
                return
            late = time.monotonic() - began - wait
            before = self._beat
            stalled = time.monotonic() - before
            if stalled < self._limit or self._paused:
                continue
            frame = sys._current_frames().get(self._loop_thread)
            measured = self._measure(stalled, late)
            if frame is not None and self._beat == before and not self._paused:
                self._report(frame, measured)
            del frame  # a reference kept until the next check would keep the frame's objects alive

    def _measure(self, stalled: float, late: float) -> LoopStall:
        cpu, queued = self._thread_cpu(), self._thread_queued()
        return LoopStall(
            stalled=stalled,
            watched_late=late,
            cpu=None if cpu is None or self._cpu is None else cpu - self._cpu,
            process_cpu=time.process_time() - self._process_cpu,
            queued=None if queued is None or self._queued is None else queued - self._queued,
        )

    def _report(self, frame: FrameType, measured: LoopStall) -> None:
        own = [entry for entry in traceback.extract_stack(frame) if is_users(entry.filename)]
        if not own or measured.machine_is_busy:
            if time.monotonic() - self._reported_at >= REPEAT_SECONDS:
                self._reported_at = time.monotonic()
                log.warning("%s", measured.explain())
            return
        line = f"{own[-1].filename}:{own[-1].lineno}"
        if line not in self._reported:
            self._reported.add(line)
            log.warning(
                "%s in %s has blocked the server for %.1f s: no other request is served meanwhile. %s",
                own[-1].name,
                line,
                measured.stalled,
                CURE,
            )
