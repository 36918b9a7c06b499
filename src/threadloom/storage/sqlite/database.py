"""One SQLite file: one writer that commits once for all that waited, and reads on the caller's own connection.

Why one writer: SQLite takes one at a time anyway, and a commit shared by many waiting operations is worth more than any
driver (docs/decisions/0003-the-writer-on-the-loop.md). Each operation runs in a savepoint of its own, so one that fails takes
no other with it.

The writer works in two places, never in both at once. What one turn of the server's event loop hands in is committed at the
end of that turn, on the loop: no other thread has to be woken, which would cost more than the work. Heavy operations, those
of other threads, and everything with `synchronous=full` (each commit waits for the disk) go to the writer's own thread; as
long as that has anything to do, all else queues behind it, so operations are committed in the order they were handed in.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from threadloom.errors import StorageError, separate
from threadloom.storage.sqlite.wal import URGENT_BYTES, WriteAheadLog

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
Functions = dict[str, tuple[int, Callable[..., Any]]]
"""SQL functions of ours: name -> (number of arguments, function)."""

Answer = asyncio.Future[Any] | Future[Any]


class Job(NamedTuple):
    """An operation that is handed in, and who waits for it.

    `exclusive`: it may change very much, and what undoes it beside others in the same commit would be as much again.
    `failed` is told what went wrong, on whichever thread commits, before anything that was handed in later is executed; then the
    answer tells nothing.
    """

    operation: Operation[Any]
    answer: Answer
    exclusive: bool = False
    failed: Callable[[Exception], None] | None = None


Done = tuple[Job, Any, Exception | None]

BATCH = 256
"""Operations that share one commit at most on the writer's thread, so that none waits long for the others."""

TURN = 64
"""Operations that are committed at most in one turn of the event loop."""

PAGE_BYTES = 2048
"""Size of a page of a new database. A commit writes each page it touches whole to the log, and a run touches some thirty: one of
each table and index. An existing database keeps its size until `threadloom db vacuum`."""

DEFERRED_SECONDS = 0.05
"""How long an operation that nobody waits for may wait for a commit to go along with."""

RECENT_SECONDS = 1.0
"""Age of the newest commit up to which nobody needs to look whether the database takes writes."""

NEVER = float("-inf")

IDLE_SECONDS = 0.5
"""Without a commit for so long, the write-ahead log is brought into the file and emptied."""


class SqliteDatabase:
    """Opens, reads and writes one SQLite file.

    Args:
        path: the file; its folder must exist.
        synchronous: `normal` keeps what was acknowledged when the process dies, `full` also when the power goes.
        functions: deterministic SQL functions to define on every connection.
    """

    def __init__(
        self, path: Path, *, synchronous: Literal["normal", "full"] = "normal", functions: Functions | None = None
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._functions = functions or {}
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="threadloom-read")
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.Lock()
        # The writer's own thread, and how many operations are on their way to or through it.
        self._thread: threading.Thread | None = None
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._queued = 0
        self._handing = threading.Lock()
        """Held while jobs change hands, so that they are committed in the order in which they were handed in."""
        # What the event loop has handed in, of this turn or deferred, in its order.
        self._home: asyncio.AbstractEventLoop | None = None
        self._turn: deque[Job] = deque()
        self._ending = False
        """Whether the turn is going to be committed at its end: what was deferred may also wait."""
        self._deferred = False
        self._deferred_since = 0.0
        self._deferred_watched = False
        """Whether a timer runs that looks after what was deferred."""
        self._wrote_at = NEVER
        """When the newest commit was made; NEVER when one was refused since."""
        self.log = WriteAheadLog(path, self._writing)
        self._idle_watch: int | None = None

    def connect(self) -> sqlite3.Connection:
        """A new connection with our settings.

        Raises:
            StorageError: the file cannot be opened.
        """
        try:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA busy_timeout = 5000")
            connection.execute("PRAGMA cache_size = -32768")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error
        for name, (arguments, function) in self._functions.items():
            connection.create_function(name, arguments, function, deterministic=True)
        self._opened.append(connection)
        return connection

    def start(self) -> None:
        """Starts to write. Called on the event loop that `write` is mostly called from, if there is one."""
        with contextlib.suppress(RuntimeError):
            self._home = asyncio.get_running_loop()
        self._writer = self.connect()
        # What undoes one operation of a commit is kept in memory, not in a file made for each.
        self._writer.execute("PRAGMA temp_store = MEMORY")
        self._writer.execute(f"PRAGMA journal_size_limit = {URGENT_BYTES}")
        self._thread = threading.Thread(target=self._write_forever, name="threadloom-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finishes what was handed in, then closes every connection. Blocks until then."""
        if self._thread is not None:
            self._finish_turn()
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._pool.shutdown()
        self.log.close()
        if self._opened:
            self.log.move()
        for connection in self._opened:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        self._opened.clear()
        self.log.release()

    # --- writing ---

    def submit(self, operation: Operation[T], *, heavy: bool = False) -> "Future[T]":
        """Hands an operation to the writer's thread, from any thread. The future is done once it is committed.

        Raises (through the future):
            StorageError: the database refused; nothing of the operation was kept.
        """
        future: Future[T] = Future()
        with self._handing:
            if self._deferred:
                while self._turn:
                    self._enqueue(self._take_turn())
            self._enqueue([Job(operation, future, exclusive=heavy)])
        return future

    def wrote_recently(self) -> bool:
        """Whether something was committed within a second, and nothing was refused since."""
        return time.monotonic() - self._wrote_at < RECENT_SECONDS

    async def write(self, operation: Operation[T], *, heavy: bool = False) -> T:
        """Runs an operation on the writer and waits until it is committed; not undone by the caller's cancellation.

        Args:
            heavy: it may take long, and must not hold up the event loop.

        Raises:
            StorageError: as `submit`.
        """
        loop = asyncio.get_running_loop()
        if loop is self._home:
            self._watch(loop)
        if heavy or loop is not self._home or self._synchronous == "full":
            return await asyncio.shield(asyncio.wrap_future(self.submit(operation, heavy=heavy)))
        future = loop.create_future()
        self._turn.append(Job(operation, future))
        if not self._ending:
            self._ending = True
            loop.call_soon(self._end_turn)
        answer: T = await future
        return answer

    def defer(self, operation: Operation[None], failed: Callable[[Exception], None]) -> "asyncio.Future[None] | None":
        """Hands in an operation that nobody waits for yet. It is committed after all that was handed in before, together with
        whatever is committed next, at the latest after `DEFERRED_SECONDS`. Who reads sees it, but a read on the event loop does
        not wait for the writer's thread while that is busy.

        Args:
            failed: see `Job`.

        Gives what is done when it is committed or has failed, or None where this cannot be had (on other event loops, and where
        each commit waits for the disk anyway).
        """
        loop = asyncio.get_running_loop()
        if loop is not self._home or self._synchronous == "full":
            return None
        self._watch(loop)
        future = loop.create_future()
        self._turn.append(Job(operation, future, failed=failed))
        if not self._deferred:
            self._deferred = True
            self._deferred_since = loop.time()
            if not self._deferred_watched:
                self._deferred_watched = True
                loop.call_later(DEFERRED_SECONDS, self._look_at_deferred, loop)
        if len(self._turn) >= TURN and not self._ending:
            self._ending = True
            loop.call_soon(self._end_turn)
        return future

    def _look_at_deferred(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commits what was deferred for as long as it may be. What came later than the timer was set waits for the next."""
        self._deferred_watched = False
        if self._deferred:
            left = self._deferred_since + DEFERRED_SECONDS - loop.time()
            if left <= 0:
                self._end_turn()
            else:
                self._deferred_watched = True
                loop.call_later(left, self._look_at_deferred, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._idle_watch is None:
            self._idle_watch = -1
            loop.call_later(IDLE_SECONDS, self._look_whether_idle)

    def _end_turn(self) -> None:
        """Commits what the loop has handed in: here when the thread is idle and the disk is not waited for, else there."""
        self._ending = False
        with self._handing:
            turn = self._take_turn()
            if not turn:
                return
            # A commit that begins the log anew waits for the disk: it is not for the event loop to make.
            here = not (self.log.begins or self._queued) and self._writing.acquire(blocking=False)
            if not here:
                self.log.begins = False
                self._enqueue(turn)
        if here:
            try:
                done = self._commit(turn)
            finally:
                self._writing.release()
            _resolve_futures(done)
        if self._turn and self._home is not None:
            self._ending = True
            self._home.call_soon(self._end_turn)

    def _take_turn(self) -> list[Job]:
        """What the loop has handed in, as far as one commit takes it. Holds `_handing`."""
        turn = [self._turn.popleft() for _ in range(min(TURN, len(self._turn)))]
        self._deferred = self._deferred and bool(self._turn)
        return turn

    def _finish_turn(self) -> None:
        while self._turn:
            self._end_turn()

    def _enqueue(self, jobs: Sequence[Job]) -> None:
        """Hands jobs to the writer's thread. Holds `_handing`."""
        self._queued += len(jobs)
        for job in jobs:
            self._queue.put(job)

    def _write_forever(self) -> None:
        following: Job | None = None
        while (first := following or self._queue.get()) is not None:
            batch, following = [first], None
            stop = False
            while not first.exclusive and len(batch) < BATCH and not self._queue.empty():
                job = self._queue.get()
                if job is None:
                    stop = True
                    break
                if job.exclusive:
                    following = job
                    break
                batch.append(job)
            with self._writing:
                done = self._commit(batch)
            with self._handing:
                self._queued -= len(batch)
            if self._home is not None and any(isinstance(job.answer, asyncio.Future) for job in batch):
                # The loop may be closed already when the server stops: nobody waits there any more.
                with contextlib.suppress(RuntimeError):
                    self._home.call_soon_threadsafe(
                        _resolve_futures, [one for one in done if isinstance(one[0].answer, asyncio.Future)]
                    )
            _resolve_futures([one for one in done if isinstance(one[0].answer, Future)])
            if stop:
                return

    def _commit(self, batch: Sequence[Job]) -> list[Done]:
        """Runs operations in one transaction; gives what each gave or raised, once that is certain. Holds `_writing`."""
        connection = self._writer
        assert connection is not None
        done: list[Done] = []
        execute = connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            if len(batch) == 1:  # its transaction is all that has to be undone
                done.append((batch[0], batch[0].operation(connection), None))
            else:
                for job in batch:
                    execute("SAVEPOINT operation")
                    try:
                        done.append((job, job.operation(connection), None))
                    except Exception as error:
                        if not connection.in_transaction:
                            raise  # SQLite gave up the whole transaction (disk full, I/O error)
                        execute("ROLLBACK TO operation")
                        done.append(_failed(job, error))
                    execute("RELEASE operation")
            execute("COMMIT")
            self._wrote_at = time.monotonic()
        except Exception as error:
            self._wrote_at = NEVER
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    execute("ROLLBACK")
            done = [_failed(job, error if len(batch) == 1 else separate(error)) for job in batch]
        self.log.look()
        return done

    def _commit_deferred(self) -> None:
        """Commits what was deferred, for somebody reads. The loop does not wait for that when the writer's thread is busy."""
        try:
            here = asyncio.get_running_loop() is self._home
        except RuntimeError:
            here = False
        if here:
            self._finish_turn()
        else:
            with contextlib.suppress(Exception):  # what cannot be committed is told to those who handed it in
                self.submit(_nothing).result()

    def _look_whether_idle(self) -> None:
        """Looks again and again while there are commits; then empties the log, and sleeps until the next write."""
        if self._idle_watch != self.log.commits and self._home is not None:
            self._idle_watch = self.log.commits
            self._home.call_later(IDLE_SECONDS, self._look_whether_idle)
            return
        self._idle_watch = None
        self.log.look_idle()

    # --- reading ---

    def read(self, operation: Operation[T], *, deferred: bool = True) -> T:
        """Runs a reading operation now, on this thread's own connection and in one snapshot.

        Args:
            deferred: commit first what was deferred.
        """
        connection: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if connection is None:
            connection = self._readers.connection = self.connect()
            connection.execute("PRAGMA query_only = ON")
        if deferred and self._deferred:
            self._commit_deferred()
        try:
            connection.execute("BEGIN")
            try:
                return operation(connection)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _explained(error) from error

    async def read_in_thread(self, operation: Operation[T]) -> T:
        """Runs a reading operation that may take long on a thread of its own, so that the event loop goes on."""

        def read() -> T:
            with self.log.long_read():
                return self.read(operation)

        return await asyncio.get_running_loop().run_in_executor(self._pool, read)


def _nothing(connection: sqlite3.Connection) -> None:
    pass


def _failed(job: Job, error: Exception) -> Done:
    told = _explained(error) if isinstance(error, sqlite3.Error) else error
    if job.failed is not None:
        job.failed(told)
    return job, None, told


def _resolve_futures(done: Sequence[Done]) -> None:
    """Tells those who wait. One who no longer does was cancelled: the operation stands all the same."""
    for job, result, failure in done:
        if job.answer.done():
            continue
        if failure is None or job.failed is not None:
            job.answer.set_result(result)
        else:
            job.answer.set_exception(failure)


def _explained(error: sqlite3.Error) -> StorageError | sqlite3.Error:
    """The same error in words for an operator, where it speaks of the disk and not of our own statements."""
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and any(
        word in text for word in ("full", "readonly", "disk I/O", "locked", "unable to open")
    ):
        return StorageError(f"the database refused: {text}")
    return error
