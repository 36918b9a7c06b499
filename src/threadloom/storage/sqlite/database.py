"""One SQLite file: one writer that commits once for all waiting operations, and reads on the caller's own connection.

Why one writer: SQLite allows only one at a time, and a commit shared by many waiting operations gains more than any driver
(docs/decisions/0003-the-writer-on-the-loop.md). Each operation runs in a savepoint of its own, so one that fails does not undo
others.

The writer works in two places, never in both at once. Operations submitted in one turn of the server's event loop are committed
at the end of that turn, on the loop: no other thread has to be woken, which would cost more than the commit. Heavy operations,
those of other threads, and all operations with `synchronous=full` (each commit waits for the disk) go to the writer's own thread.
While that thread is busy, all other operations queue behind it, so operations are committed in the order of submission.
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
"""SQL functions that the server defines: name -> (number of arguments, function)."""

Answer = asyncio.Future[Any] | Future[Any]


class Job(NamedTuple):
    """A submitted operation, and the future that its caller waits for.

    `exclusive`: it may change very much. In a shared commit its undo log would be as large again, so it is committed alone.
    `failed` is called with the error, on the thread that commits, before operations that were submitted later are executed; the
    future then carries no error.
    """

    operation: Operation[Any]
    answer: Answer
    exclusive: bool = False
    failed: Callable[[Exception], None] | None = None


Done = tuple[Job, Any, Exception | None]

BATCH = 256
"""Maximum number of operations that share one commit on the writer's thread, so that none waits long for the others."""

TURN = 64
"""Maximum number of operations that are committed in one turn of the event loop."""

PAGE_BYTES = 2048
"""Page size in bytes of a new database. A commit writes each page that it touches to the log as a whole, and a run touches about
thirty: one of each table and index. An existing database keeps its page size until `threadloom db vacuum`."""

DEFERRED_SECONDS = 0.05
"""How many seconds a deferred operation may wait for another commit that includes it."""

RECENT_SECONDS = 1.0
"""Age in seconds of the newest commit up to which no test write is needed."""

NEVER = float("-inf")

IDLE_SECONDS = 0.5
"""After so many seconds without a commit, the write-ahead log is moved into the file and emptied."""


class SqliteDatabase:
    """Opens, reads and writes one SQLite file.

    Args:
        path: the file; its folder must exist.
        synchronous: with `normal`, committed data survive the end of the process; with `full`, also a power failure.
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
        # The writer's own thread, and how many operations are queued for it or running on it.
        self._thread: threading.Thread | None = None
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._queued = 0
        self._handing = threading.Lock()
        """Held while jobs are moved between queues, so that they are committed in the order of submission."""
        # The jobs that the event loop has submitted, in this turn or deferred, in order.
        self._home: asyncio.AbstractEventLoop | None = None
        self._turn: deque[Job] = deque()
        self._ending = False
        """Whether the turn will be committed at its end. Otherwise it has only deferred jobs, which may wait longer."""
        self._deferred = False
        self._deferred_since = 0.0
        self._deferred_watched = False
        """Whether a timer for the deferred jobs is running."""
        self._wrote_at = NEVER
        """The moment of the newest commit; NEVER when a commit was refused since."""
        self.log = WriteAheadLog(path, self._writing)
        self._idle_watch: int | None = None

    def connect(self) -> sqlite3.Connection:
        """Opens a new connection with the server's settings.

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
        """Starts the writer. Called on the event loop from which most writes will come, if there is one."""
        with contextlib.suppress(RuntimeError):
            self._home = asyncio.get_running_loop()
        self._writer = self.connect()
        # The undo log of an operation is kept in memory, not in a file of its own.
        self._writer.execute("PRAGMA temp_store = MEMORY")
        self._writer.execute(f"PRAGMA journal_size_limit = {URGENT_BYTES}")
        self._thread = threading.Thread(target=self._write_forever, name="threadloom-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commits all submitted operations, then closes every connection. Blocks until then."""
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
        """Submits an operation to the writer's thread, from any thread. The future is done after the commit.

        Raises (through the future):
            StorageError: the database refused; nothing of the operation was stored.
        """
        future: Future[T] = Future()
        with self._handing:
            if self._deferred:
                while self._turn:
                    self._enqueue(self._take_turn())
            self._enqueue([Job(operation, future, exclusive=heavy)])
        return future

    def wrote_recently(self) -> bool:
        """Returns whether there was a commit within a second, and none was refused since."""
        return time.monotonic() - self._wrote_at < RECENT_SECONDS

    async def write(self, operation: Operation[T], *, heavy: bool = False) -> T:
        """Runs an operation on the writer and waits until it is committed. Cancelling the caller does not undo it.

        Args:
            heavy: it may take long, and must not block the event loop.

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
        """Submits an operation without waiting for its commit.

        It is committed after all operations submitted before it, together with the next commit, at the latest after
        `DEFERRED_SECONDS`. Readers see it, but a read on the event loop does not wait for the writer's thread while that is busy.

        Args:
            failed: see `Job`.

        Returns:
            A future that is done when the operation is committed or has failed; None where this is not available (on other event
            loops, and where each commit waits for the disk anyway).
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
        """Commits deferred jobs that have waited long enough. Jobs deferred after the timer was set wait for the next timer."""
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
        """Commits the jobs of the turn: on the loop if the thread is idle and the commit does not wait for the disk, otherwise on
        the thread.
        """
        self._ending = False
        with self._handing:
            turn = self._take_turn()
            if not turn:
                return
            # A commit that restarts the log waits for the disk, so it must not run on the event loop.
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
        """Returns the jobs that the loop has submitted, as many as one commit takes. The caller holds `_handing`."""
        turn = [self._turn.popleft() for _ in range(min(TURN, len(self._turn)))]
        self._deferred = self._deferred and bool(self._turn)
        return turn

    def _finish_turn(self) -> None:
        while self._turn:
            self._end_turn()

    def _enqueue(self, jobs: Sequence[Job]) -> None:
        """Moves jobs to the writer's thread. The caller holds `_handing`."""
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
                # The loop may already be closed when the server stops: no task waits there any more.
                with contextlib.suppress(RuntimeError):
                    self._home.call_soon_threadsafe(
                        _resolve_futures, [one for one in done if isinstance(one[0].answer, asyncio.Future)]
                    )
            _resolve_futures([one for one in done if isinstance(one[0].answer, Future)])
            if stop:
                return

    def _commit(self, batch: Sequence[Job]) -> list[Done]:
        """Runs operations in one transaction. Returns the result or error of each after the commit. Caller holds `_writing`."""
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
                            raise  # SQLite rolled back the whole transaction (disk full, I/O error)
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
        """Commits deferred jobs before a read. The loop does not wait for that when the writer's thread is busy."""
        try:
            here = asyncio.get_running_loop() is self._home
        except RuntimeError:
            here = False
        if here:
            self._finish_turn()
        else:
            with contextlib.suppress(Exception):  # an error is passed to the callers that submitted the jobs
                self.submit(_nothing).result()

    def _look_whether_idle(self) -> None:
        """Runs repeatedly while there are commits; then empties the log, and stops until the next write."""
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
            deferred: commit deferred jobs first.
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
        """Runs a reading operation that may take long on a thread of its own, so that the event loop is not blocked."""

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
    """Resolves the futures of the callers. The future of a cancelled caller is skipped; its operation is stored all the same."""
    for job, result, failure in done:
        if job.answer.done():
            continue
        if failure is None or job.failed is not None:
            job.answer.set_result(result)
        else:
            job.answer.set_exception(failure)


def _explained(error: sqlite3.Error) -> StorageError | sqlite3.Error:
    """Returns an error with a message for an operator if its cause is the disk; otherwise the same error."""
    text = str(error)
    if isinstance(error, sqlite3.OperationalError) and any(
        word in text for word in ("full", "readonly", "disk I/O", "locked", "unable to open")
    ):
        return StorageError(f"the database refused: {text}")
    return error
