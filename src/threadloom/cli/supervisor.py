"""Several processes that serve on one socket. The supervisor starts, restarts and stops them.

Each child is this command line again, with the inherited socket. A child that dies is restarted; requests that arrive meanwhile
are taken by the others, or wait in the socket's queue. A socket pair connects parent and child: the child reports on it that
it is ready, and stops when it breaks, so no child outlives a killed parent.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from threadloom.cli import restart

VARIABLE = "THREADLOOM_PROCESS"
"""The variable with a child's number, its end of the socket pair, and the folder that it shares with the others."""

POLL_INTERVAL_SECONDS = 0.1
STEADY_SECONDS = 10.0
"""A child that ran for so many seconds is restarted at once; one that died sooner waits longer each time."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
MARGIN_SECONDS = 15.0
"""Seconds after its grace period until a child is killed."""

READY = b"R"

PREFIX = "threadloom-"
SHORT_PLACE = "/tmp"
LONGEST_FOLDER = 90
"""In bytes. The path of a socket is limited to 107, on macOS to 103; the socket's file name is the child's number."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that stop a process, and all of several."""

log = logging.getLogger("threadloom.supervisor")


class SupervisedProcess:
    """A child under its supervisor. `folder` is shared by all children; only their user may enter it. None: there is none."""

    def __init__(self, number: int, line: socket.socket, folder: Path | None) -> None:
        self.number = number
        self.folder = folder
        self._line = line
        line.set_inheritable(False)
        threading.Thread(target=self._watch, name="threadloom-supervisor", daemon=True).start()

    def ready(self) -> None:
        """Reports that this process answers requests."""
        with contextlib.suppress(OSError):
            self._line.send(READY)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            self._line.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)


def supervised_process() -> SupervisedProcess | None:
    """Returns this process as a supervised one, or None if no supervisor started it."""
    told = os.environ.pop(VARIABLE, "")
    if not told:
        return None
    number, line, folder = told.split(":", 2)
    return SupervisedProcess(int(number), socket.socket(fileno=int(line)), Path(folder) if folder else None)


class _Child:
    """One of the supervised processes, across its restarts."""

    def __init__(self, number: int, folder: str) -> None:
        self.number = number
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self._line: socket.socket | None = None
        self._began = 0.0
        self._delay = FIRST_DELAY
        self._due = 0.0

    def start(self, listening: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        environment = {
            **os.environ,
            restart.VARIABLE: str(listening.fileno()),
            VARIABLE: f"{self.number}:{theirs.fileno()}:{self._folder}",
        }
        self.process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=environment,
            pass_fds=(listening.fileno(), theirs.fileno()),
            start_new_session=True,
        )
        theirs.close()
        self._line = ours
        self._began = time.monotonic()

    def look(self, listening: socket.socket) -> int | None:
        """Starts the process when it is due. Returns the exit status when it has just ended, else None."""
        if self.process is None:
            if time.monotonic() >= self._due:
                self.start(listening)
            return None
        if not self.ready and self._line is not None:
            with contextlib.suppress(OSError):
                self.ready = self._line.recv(1) == READY
        status = self.process.poll()
        if status is None:
            return None
        if self._line is not None:
            self._line.close()
        lived = time.monotonic() - self._began
        self._delay = FIRST_DELAY if lived >= STEADY_SECONDS else min(self._delay * 2, LONGEST_DELAY)
        self._due = time.monotonic() + (0 if lived >= STEADY_SECONDS else self._delay)
        self.process = None
        return status

    def tell(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


def supervise(listening: socket.socket, count: int, *, grace: float, on_ready: Callable[[], None]) -> int:
    """Runs `count` processes until SIGINT or SIGTERM, which is passed on to them.

    Args:
        listening: the listening socket. Closed when the processes are to end; they keep it while they accept requests.
        grace: seconds for them to end.
        on_ready: called once all of them answer.

    Returns:
        the exit status: 0, or that of a process that failed to start.
    """
    with _folder() as folder:
        children = [_Child(number, folder) for number in range(1, count + 1)]
        return _supervise(children, listening, grace, on_ready)


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """Yields a folder for the sockets of the children; an empty text where none can be created. Uses another folder than TMPDIR
    when that is too long for a socket's path.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=PREFIX)
        if len(os.fsencode(made.name)) > LONGEST_FOLDER:
            made.cleanup()
            made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=SHORT_PLACE)
    except OSError as error:
        log.warning("no temporary folder: /metrics tells of the process that is asked, and not of all (%s)", error)
        yield ""
        return
    with made as folder:
        yield folder


def _supervise(children: list[_Child], listening: socket.socket, grace: float, on_ready: Callable[[], None]) -> int:
    # Signals are only recorded here, so that a child that is being started at that moment gets them too.
    asked: list[int] = []
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in STOP_SIGNALS}
    started = False
    status = 0
    try:
        while not asked:
            for child in children:
                ended = child.look(listening)
                if ended is None:
                    continue
                if not started and not child.ready:
                    log.error(
                        "process %d of %d could not start (%s); all end",
                        child.number,
                        len(children),
                        _describe_status(ended),
                    )
                    status = ended if ended > 0 else 1
                    asked.append(signal.SIGTERM)
                    break
                log.warning(
                    "process %d of %d ended (%s); it is started again",
                    child.number,
                    len(children),
                    _describe_status(ended),
                )
                child.ready = False
            if not started and all(child.ready for child in children):
                started = True
                on_ready()
            time.sleep(POLL_INTERVAL_SECONDS)
        listening.close()
        return _end(children, asked, time.monotonic() + grace + MARGIN_SECONDS) or status
    finally:
        for child in children:
            child.tell(signal.SIGKILL)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(children: list[_Child], asked: list[int], deadline: float) -> int:
    """Waits until all have ended, and passes on signals meanwhile. Returns 1 when one had to be killed."""
    while True:
        while asked:
            number = asked.pop(0)
            for child in children:
                child.tell(number)
        living = [child for child in children if child.process is not None and child.process.poll() is None]
        if not living:
            return 0
        if time.monotonic() > deadline:
            for child in living:
                log.error("process %d did not end in time and is killed", child.number)
            return 1
        time.sleep(POLL_INTERVAL_SECONDS)


def _describe_status(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
