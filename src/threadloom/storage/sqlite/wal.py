"""Keeps the write-ahead log of a database small while there are always commits.

SQLite restarts its log only if every frame is in the database file at the moment a commit begins, and no reader still uses one. A
passive checkpoint beside a busy writer never reaches that state: while it waits for the disk, further frames are appended. So the
log is first moved into the file beside the writer, round by round, until few frames are left. Those are moved while commits are
blocked, which takes a few milliseconds, and the next commit begins at the start of the log.
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
"""Size in bytes of the log above which it is restarted."""

URGENT_BYTES = 52 * 1024 * 1024
"""Size in bytes above which commits wait for the restart, however many frames are left to be moved. The file of a log that was
restarted is truncated to this size. To truncate tens of megabytes takes a file system tens of milliseconds, so a smaller file
keeps its size."""

LOOK_AGAIN_SECONDS = 0.01
"""Seconds between two checks of the length of the log."""

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
"""Bytes of a frame's header in SQLite's log format."""

TAIL_FRAMES = 512
"""How many frames may be left to be moved while commits wait."""

READER_MS = 20
"""How many milliseconds commits wait, at most, for readers of older frames, and once more for those of the newest."""

NEXT_READER_SECONDS = 0.06
"""How many seconds a long read waits, at most, before it begins, so that those in progress end and the log can be restarted."""

POLL_INTERVAL_SECONDS = 0.001
"""How often the end of those reads is checked, in seconds."""

PAUSE_SECONDS = 0.02
"""Pause in seconds between two rounds when a reader was in the way; doubled after each, up to `LONGEST_PAUSE_SECONDS`."""

LONGEST_PAUSE_SECONDS = 0.5


class WriteAheadLog:
    """The log of one database, and the thread that shortens it.

    Args:
        path: the database file.
        writing: a lock that is held during each commit.
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
        """The database file, for syncing it to the disk."""
        self.commits = 0
        """The number of commits so far."""
        self.begins = False
        """Whether the next commit restarts the log. Such a commit waits for the disk."""

    def size(self) -> int:
        """Returns the size of the log in bytes, 0 without one. Remains of an earlier log in the file are not counted."""
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
        """Returns whether `size()` exceeds `LOG_BYTES`. Reads one frame only: the file stays large after the log restarts."""
        try:
            if self._log.stat().st_size <= LOG_BYTES:
                return False
            with self._frames() as (frame, is_older):
                return not is_older((LOG_BYTES - HEADER_BYTES) // frame)
        except OSError:
            return False

    @contextlib.contextmanager
    def _frames(self) -> Iterator[tuple[int, Callable[[int], bool]]]:
        """Yields the size of a frame in bytes, and a function that returns whether the frame of a number (from 0) belongs to an
        earlier log. The salt of each frame shows that."""
        with self._log.open("rb", buffering=0) as file:
            header = file.read(HEADER_BYTES)
            salt, frame = header[16:24], FRAME_HEADER_BYTES + int.from_bytes(header[8:12], "big")

            def is_older(number: int) -> bool:
                file.seek(HEADER_BYTES + number * frame + 8)
                return file.read(8) != salt

            yield frame, is_older

    def look(self) -> None:
        """Called after each commit. Starts shortening the log, on a thread of its own, once it is long."""
        self.commits += 1
        if (now := time.monotonic()) < self._looked_at + LOOK_AGAIN_SECONDS:
            return
        self._looked_at = now
        if (self._work is None or self._work.done()) and self.is_long():
            with contextlib.suppress(RuntimeError):  # the executor is closed
                self._work = self._thread.submit(self.shorten)

    def look_idle(self) -> None:
        """Called when there were no commits for a while. Releases the disk space of the log."""
        with contextlib.suppress(RuntimeError):
            self._thread.submit(self.move, empty=True)

    @contextlib.contextmanager
    def long_read(self) -> Iterator[None]:
        """Wraps a read that may take long, on a thread of its own.

        If such reads always overlapped, the log could never be restarted. Then a read waits for the next restart, but not for
        long.
        """
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
        """Waits for a short time until the long reads in progress end. Yields whether all have. No other long read begins until
        the block is left, or a short time is over.
        """
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
        """Makes the next commit restart the log. Retries as long as readers are in the way."""
        pause = PAUSE_SECONDS
        before = 0
        with contextlib.suppress(sqlite3.Error), self._connection() as connection:
            while not self._closed.is_set() and (size := self.size()) > LOG_BYTES:
                frames, moved = _checkpoint(connection, "PASSIVE")
                self._sync()
                # About as many frames were added during this round as the round itself has moved.
                left = frames - moved + abs(moved - before)
                if left <= TAIL_FRAMES or size > URGENT_BYTES:
                    if self._restart(connection):
                        return
                elif moved != before:
                    before = moved
                    continue  # the next round has fewer frames to move
                before = moved
                self._closed.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def move(self, *, empty: bool = False) -> None:
        """Moves the log into the file, beside readers and the writer.

        Args:
            empty: also truncate the log, unless there were commits meanwhile. This blocks a writer until all frames are moved and
                synced, which does not take long if none are left to be moved.
        """
        commits = self.commits
        with contextlib.suppress(sqlite3.Error), self._connection() as connection:
            self.begins = not _left(connection, "PASSIVE")
            if empty and self.begins and commits == self.commits:
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _sync(self) -> None:
        """Syncs the log and the database file to the disk. SQLite itself does that only in the round after which no frame is
        left, and commits wait for that round.
        """
        with contextlib.suppress(OSError), self._log.open("rb+") as log:
            os.fsync(log.fileno())
        with contextlib.suppress(OSError):
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR)
            os.fsync(self._file)

    def release(self) -> None:
        """Closes the file. Called after every connection to the database is closed: closing the file drops every lock that this
        process has on it, including those of SQLite's connections.
        """
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _restart(self, connection: sqlite3.Connection) -> bool:
        """Moves the remaining frames while commits are blocked. False: a reader was in the way."""
        with self._between_reads() as alone:
            return alone and self._restart_alone(connection)

    def _restart_alone(self, connection: sqlite3.Connection) -> bool:
        with self._writing:
            # Waits for readers of older frames. New readers read the newest frames and block none of the older ones. With many
            # short reads there is always some reader that began before the last commit.
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
    """Moves frames. Returns how many there were when it began, and how many of them are in the database file now."""
    _, frames, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return frames, moved


def _left(connection: sqlite3.Connection, mode: str) -> int:
    """Moves frames. Returns how many of those that existed at the beginning are left to be moved."""
    frames, moved = _checkpoint(connection, mode)
    return frames - moved
