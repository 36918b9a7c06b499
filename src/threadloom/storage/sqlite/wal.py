"""Keeps the write-ahead log of a database small while commits never pause.

SQLite begins its log anew only if every frame is in the database file at the moment a commit begins, and no reader still uses
one. A passive checkpoint beside a busy writer never gets there: while it waits for the disk, further frames are appended. So
the log is brought into the file beside the writer first, round by round, until few frames are left; those are moved while no
commit can begin, which takes a few milliseconds, and the next commit begins at the start of the log.
"""

import bisect
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

LOG_BYTES = 24 * 1024 * 1024
"""Size of the log past which it is to begin anew."""

URGENT_BYTES = 52 * 1024 * 1024
"""Size past which commits wait for that, however much is left to be moved. Where the file of a log that begins anew is larger, it
is cut to this. To cut off tens of megabytes takes a file system tens of milliseconds, so a smaller one stays as it is."""

LOOK_AGAIN_SECONDS = 0.01
"""How often is looked how far the log has come."""

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
"""Of SQLite's format of the log."""

TAIL_FRAMES = 512
"""Frames that may be left to be moved while commits wait."""

READER_MS = 20
"""Milliseconds that commits wait, at most, for readers of older frames to end, and once more for those of the newest."""

NEXT_READER_SECONDS = 0.06
"""How long a long read waits, at most, before it begins, so that those under way end and the log can begin anew."""

POLL_INTERVAL_SECONDS = 0.001
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
        self._looked_at = 0.0
        self._file: int | None = None
        """The database file, to bring it to the disk."""
        self.commits = 0
        """How many there were."""
        self.begins = False
        """Whether the next commit begins the log anew. It waits for the disk."""

    def size(self) -> int:
        """Bytes of the log, 0 without one. What is left in its file of an earlier log does not count."""
        try:
            size = self._log.stat().st_size
            if size <= LOG_BYTES:
                return size
            with self._frames() as (frame, is_older):
                frames = bisect.bisect_left(range((size - HEADER_BYTES) // frame), True, key=is_older)
                return HEADER_BYTES + frames * frame
        except OSError:
            return 0

    def is_long(self) -> bool:
        """Whether `size()` is past `LOG_BYTES`. One frame tells, so it costs little where the file stays larger than its log."""
        try:
            if self._log.stat().st_size <= LOG_BYTES:
                return False
            with self._frames() as (frame, is_older):
                return not is_older((LOG_BYTES - HEADER_BYTES) // frame)
        except OSError:
            return False

    @contextlib.contextmanager
    def _frames(self) -> Iterator[tuple[int, Callable[[int], bool]]]:
        """The bytes of a frame, and whether that of a number (from 0) is of an earlier log, which its salt tells."""
        with self._log.open("rb", buffering=0) as file:
            header = file.read(HEADER_BYTES)
            salt, frame = header[16:24], FRAME_HEADER_BYTES + int.from_bytes(header[8:12], "big")

            def is_older(number: int) -> bool:
                file.seek(HEADER_BYTES + number * frame + 8)
                return file.read(8) != salt

            yield frame, is_older

    def look(self) -> None:
        """Called after each commit: lets the log be shortened, on a thread of its own, once it is long."""
        self.commits += 1
        if (now := time.monotonic()) < self._looked_at + LOOK_AGAIN_SECONDS:
            return
        self._looked_at = now
        if (self._work is None or self._work.done()) and self.is_long():
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
        before = 0
        with contextlib.suppress(sqlite3.Error), self._connection() as connection:
            while not self._closed.is_set() and (size := self.size()) > LOG_BYTES:
                frames, moved = _checkpoint(connection, "PASSIVE")
                self._sync()
                # What came while this round was made is about as much as the round itself has moved.
                left = frames - moved + abs(moved - before)
                if left <= TAIL_FRAMES or size > URGENT_BYTES:
                    if self._restart(connection):
                        return
                elif moved != before:
                    before = moved
                    continue  # the next round has less to do
                before = moved
                self._closed.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

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

    def _sync(self) -> None:
        """Brings the log and the database file to the disk. SQLite itself leaves that to the round after which no frame is left,
        and that is the one for which commits wait."""
        with contextlib.suppress(OSError), self._log.open("rb+") as log:
            os.fsync(log.fileno())
        with contextlib.suppress(OSError):
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR)
            os.fsync(self._file)

    def release(self) -> None:
        """To be called when every connection to the database is closed: closing its file once drops every lock that this process
        has on it, those of SQLite's connections among them."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

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
                if time.monotonic() >= over or self._closed.wait(POLL_INTERVAL_SECONDS):
                    return False
            busy: int = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
            self.begins = not busy
            return not busy

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {READER_MS}")
            yield connection


def _checkpoint(connection: sqlite3.Connection, mode: str) -> tuple[int, int]:
    """Moves frames; gives how many there were when it began, and how many of them are in the database file now."""
    _, frames, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return frames, moved


def _left(connection: sqlite3.Connection, mode: str) -> int:
    """Moves frames; gives how many of those that there were when it began are left to be moved."""
    frames, moved = _checkpoint(connection, mode)
    return frames - moved
