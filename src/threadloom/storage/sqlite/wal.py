"""Keeps the write-ahead log of a database small while commits never pause.

SQLite begins its log anew only if every frame is in the database file at the moment a commit begins, and no reader still uses
one. A passive checkpoint beside a busy writer never gets there: while it waits for the disk, further frames are appended. So
the log is brought into the file beside the writer first, round by round, until few frames are left; those are moved while no
commit can begin, which takes a few milliseconds, and the next commit begins at the start of the log.
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

LOG_BYTES = 32 * 1024 * 1024
"""Size of the log past which it is to begin anew."""

URGENT_BYTES = 48 * 1024 * 1024
"""Size past which commits wait for that, however much is left to be moved."""

KEPT_BYTES = 1024 * 1024
"""Size to which the file of a log that begins anew is cut: from there on, its size tells how far the log has come."""

TAIL_FRAMES = 512
"""Frames that may be left to be moved while commits wait."""

READER_MS = 20
"""Milliseconds that commits wait, at most, for readers of older frames to end, and once more for those of the newest."""

NEXT_READER_SECONDS = 0.06
"""How long a long read waits, at most, before it begins, so that those under way end and the log can begin anew."""

LOOK_SECONDS = 0.001
"""How often is looked whether they have."""

PAUSE_SECONDS = 0.02
"""Between two rounds when a reader was in the way; twice as long after each, up to `LONGEST_PAUSE_SECONDS`."""

LONGEST_PAUSE_SECONDS = 0.5


class WriteAheadLog:
    """The log of one database, and the thread that works on it.

    Args:
        path: the database file.
        writing: held by whoever commits.
    """

    def __init__(self, path: Path, writing: threading.Lock) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._writing = writing
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="threadloom-log")
        self._work: Future[None] | None = None
        self._closed = threading.Event()
        self._reading = threading.Condition()
        self._readers = 0
        self._may_read = True
        self.commits = 0
        """How many there were."""
        self.begins = False
        """Whether the next commit begins the log anew. It waits for the disk."""

    def size(self) -> int:
        """Bytes of the log's file, 0 without one."""
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def look(self) -> None:
        """Called after each commit: lets the log be shortened, on a thread of its own, once it is long."""
        self.commits += 1
        if self.size() > LOG_BYTES and (self._work is None or self._work.done()):
            with contextlib.suppress(RuntimeError):  # it is closed
                self._work = self._thread.submit(self.shorten)

    def look_idle(self) -> None:
        """Called when there were no commits for a while: lets the log give its room back."""
        with contextlib.suppress(RuntimeError):
            self._thread.submit(self.move, empty=True)

    @contextlib.contextmanager
    def long_read(self) -> Iterator[None]:
        """A read that may take long, on a thread of its own. Where such reads follow each other without a gap, there would never
        be a moment to begin the log anew: then it waits for the next such moment, but not for long."""
        with self._reading:
            if not self._may_read:
                self._reading.wait_for(lambda: self._may_read, NEXT_READER_SECONDS)
            self._readers += 1
        try:
            yield
        finally:
            with self._reading:
                self._readers -= 1
                if not self._readers:
                    self._reading.notify_all()

    @contextlib.contextmanager
    def _between_reads(self) -> Iterator[bool]:
        """Lets the long reads that are under way end, if they do so soon; tells whether all have. No other begins until the block
        is left, or for long."""
        with self._reading:
            self._may_read = False
            ended = self._reading.wait_for(lambda: not self._readers, NEXT_READER_SECONDS)
        try:
            yield ended
        finally:
            with self._reading:
                self._may_read = True
                self._reading.notify_all()

    def close(self) -> None:
        """Ends the thread. Blocks until then."""
        self._closed.set()
        self._thread.shutdown()

    def shorten(self) -> None:
        """Lets the log begin anew with the next commit. Tries again as long as readers are in the way."""
        pause = PAUSE_SECONDS
        last = 0
        with contextlib.suppress(sqlite3.Error), self._connection() as connection:
            while not self._closed.is_set() and (size := self.size()) > LOG_BYTES:
                left = _left(connection, "PASSIVE")
                tries = left <= TAIL_FRAMES or size > URGENT_BYTES
                if tries and self._restart(connection):
                    return
                # A round that left less than the one before is followed by the next at once.
                if tries or left >= last > 0:
                    self._closed.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                last = left

    def move(self, *, empty: bool = False) -> None:
        """Brings the log into the file, beside readers and the writer.

        Args:
            empty: give its space back too, unless there were commits meanwhile: that holds up a writer until all is moved and on
                the disk, which is not for long where nothing is left to be moved.
        """
        commits = self.commits
        with contextlib.suppress(sqlite3.Error), self._connection() as connection:
            self.begins = not _left(connection, "PASSIVE")
            if empty and self.begins and commits == self.commits:
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _restart(self, connection: sqlite3.Connection) -> bool:
        """Moves what is left while no commit can begin. False: a reader was in the way."""
        with self._between_reads() as alone:
            return alone and self._restart_alone(connection)

    def _restart_alone(self, connection: sqlite3.Connection) -> bool:
        with self._writing:
            # Readers of older frames are waited for: who comes now reads the newest ones, and is in the way of none of them. With
            # many short reads there is never a moment without a reader that began before the last commit.
            over = time.monotonic() + READER_MS / 1000
            while _left(connection, "PASSIVE"):
                if time.monotonic() >= over or self._closed.wait(LOOK_SECONDS):
                    return False
            busy: int = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
            self.begins = not busy
            return not busy

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {READER_MS}")
            yield connection


def _left(connection: sqlite3.Connection, mode: str) -> int:
    """Moves frames; gives how many are left to be moved."""
    _, frames, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    left: int = frames - moved
    return left
