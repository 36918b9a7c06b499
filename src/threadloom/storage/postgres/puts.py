"""Batches puts of checkpoints and pending writes: puts that wait at the same moment are stored together.

One call stores and commits what many runs have put. No other optimization gains as much write speed. For each thread the order is
first in, first out: LangGraph stores in the background, and a checkpoint must not get a position after rows that build on it.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from threadloom.errors import LostLeaseError, StaleRefsError, StorageError, separate
from threadloom.storage.lineage import CheckpointPut, WritesPut
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.database import PostgresDatabase
from threadloom.storage.postgres.lineage import era_of, put_values
from threadloom.storage.postgres.loop_pool import LoopPool
from threadloom.storage.postgres.session import Session

SQL = load(__package__, "lineage.sql")

BATCH = 64
"""Maximum number of puts in a batch: each takes a lock, and the table of locks is limited."""

BATCH_BYTES = 256 * 1024
"""About how many bytes of data a batch may have."""

SENDERS = 2
"""How many batches an event loop sends at once."""

OVERDUE_SECONDS = 1.0
"""Seconds after which a put no longer waits for an earlier put on the same thread that another event loop has sent. That loop is
blocked, the database has long stored the earlier put, and the code that blocks the loop may be waiting for this put."""

Put = CheckpointPut | WritesPut


class _Item:
    """One put, and the future that its caller waits for: a task of an event loop, or a thread."""

    __slots__ = ("_future", "_loop", "put", "since", "size")

    def __init__(self, put: Put, loop: asyncio.AbstractEventLoop | None, future: Any) -> None:
        self.put = put
        self.since = time.monotonic()
        self._loop = loop
        self._future = future
        if isinstance(put, CheckpointPut):
            self.size = len(put.body) + sum(len(blob.data) for blob in put.blobs)
        else:
            self.size = sum(len(write.data) for write in put.writes)

    def resolve(self, answer: int | None = None, error: BaseException | None = None) -> None:
        """Sets the result of the caller's future. Called on the event loop that sent the put."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            self._tell(answer, error)
        else:
            with contextlib.suppress(RuntimeError):  # that loop is closed: no task waits there any more
                self._loop.call_soon_threadsafe(self._tell, answer, error)

    def _tell(self, answer: int | None, error: BaseException | None) -> None:
        if self._future.done():
            return  # the caller was cancelled; the put is stored all the same
        if error is None:
            self._future.set_result(answer)
        else:
            self._future.set_exception(separate(error))


class PutBatcher:
    """Stores the puts of one database in batches. For any thread."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: deque[_Item] = deque()
        self._sending: dict[str, LoopPool] = {}
        self._senders: dict[LoopPool, int] = {}

    async def put(self, put: Put) -> int:
        """Stores a checkpoint or pending writes. Cancelling the caller does not undo it. Returns the thread's era.

        Raises:
            LostLeaseError, StaleRefsError: see `Lineage.put`.
            StorageError: see `LoopPool.write`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._add(_Item(put, loop, future))
        loop_pool = self._database.loop_pool
        if loop_pool is None:
            self._database.call_in_background(self._look)
        else:
            self._send_on(loop_pool)
        return await future

    def put_now(self, put: Put) -> int:
        """Does what `put` does, for a thread without a running event loop."""
        future: Future[int] = Future()
        self._add(_Item(put, None, future))
        self._database.call_in_background(self._look)
        return future.result()

    def _add(self, item: _Item) -> None:
        with self._lock:
            self._waiting.append(item)

    def _look(self) -> None:
        """Sends waiting puts, on the second event loop. Runs again later if some have to wait for another loop."""
        loop_pool = self._database.loop_pool
        assert loop_pool is not None
        self._send_on(loop_pool)
        if any(other is not loop_pool for other in self._sending.values()):
            asyncio.get_running_loop().call_later(OVERDUE_SECONDS * 1.01, self._look_again, loop_pool)

    def _look_again(self, loop_pool: LoopPool) -> None:
        if self._waiting:
            self._send_on(loop_pool)

    def _send_on(self, loop_pool: LoopPool) -> None:
        if self._senders.get(loop_pool, 0) < SENDERS:
            self._senders[loop_pool] = self._senders.get(loop_pool, 0) + 1
            loop_pool.start(self._send(loop_pool))

    # --- sending ---

    async def _send(self, loop_pool: LoopPool) -> None:
        """Sends batches as long as puts are waiting."""
        try:
            while batch := self._take(loop_pool):
                try:
                    await self._store(loop_pool, batch)
                finally:
                    with self._lock:
                        for item in batch:
                            self._sending.pop(item.put.thread_id, None)
        finally:
            self._senders[loop_pool] -= 1

    def _take(self, loop_pool: LoopPool) -> list[_Item]:
        """Returns the next batch: the oldest puts first, without those of threads for which another batch is being sent."""
        batch: list[_Item] = []
        left: deque[_Item] = deque()
        held: set[str] = set()
        size = 0
        with self._lock:
            overdue = time.monotonic() - OVERDUE_SECONDS
            while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
                item = self._waiting.popleft()
                thread = item.put.thread_id
                other = self._sending.get(thread)
                if thread in held or (other is not None and (other is loop_pool or item.since > overdue)):
                    held.add(thread)
                    left.append(item)
                else:
                    batch.append(item)
                    size += item.size
            self._waiting.extendleft(reversed(left))
            for item in batch:
                self._sending[item.put.thread_id] = loop_pool
        return batch

    async def _store(self, loop_pool: LoopPool, batch: Sequence[_Item]) -> None:
        """Stores a batch and resolves the futures of its callers. A put that fails does not make others fail."""
        try:
            answers = await self._stored(loop_pool, [item.put for item in batch])
        except Exception as error:
            if len(batch) == 1 or isinstance(error, StorageError):
                for item in batch:
                    item.resolve(error=error)
            else:
                for item in batch:
                    await self._store(loop_pool, [item])
            return
        for item, answer in zip(batch, answers, strict=True):
            try:
                item.resolve(era_of(item.put, answer))
            except (LostLeaseError, StaleRefsError) as error:
                item.resolve(error=error)

    async def _stored(self, loop_pool: LoopPool, puts: Sequence[Put]) -> Sequence[int | None]:
        """Stores puts in one transaction, which is one statement.

        If the connection was lost meanwhile, it is unknown whether the statement was carried out. So the retry looks for the
        blobs, whose ids are unique. Puts without blobs can be stored twice without a visible effect.
        """
        tried = False

        async def work(session: Session) -> Sequence[int | None]:
            nonlocal tried
            if tried and (there := await _already(session, puts)) is not None:
                return there
            tried = True
            values = [put_values(put) for put in puts]
            if len(values) == 1:
                return [await session.fetchval(SQL["put"], values[0])]
            answers: Sequence[int | None] = await session.fetchval(SQL["put_many"], values)
            return answers

        return await loop_pool.write_statement(work)


async def _already(session: Session, puts: Sequence[Put]) -> Sequence[int] | None:
    """Returns the eras of the threads if these puts are stored; None if they are not, or if this cannot be determined."""
    blobs = [put.blobs[0].id for put in puts if isinstance(put, CheckpointPut) and put.blobs]
    if not await session.fetchval(SQL["any_blob"], blobs):
        return None
    eras: dict[str, Any] = dict(await session.fetch(SQL["eras"], [escaped(put.thread_id) for put in puts]))
    return [eras.get(put.thread_id, 1) for put in puts]


class PutTx:
    """A transaction that consists of one put."""

    def __init__(self, puts: PutBatcher, *, now: bool = False) -> None:
        self._puts = puts
        self._now = now

    @property
    def lineage(self) -> "PutTx":
        return self

    def __getattr__(self, name: str) -> Any:
        async def refused(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"work that is `single` is one put, and not {name}")

        return refused

    async def put(self, put: CheckpointPut) -> int:
        return self._puts.put_now(put) if self._now else await self._puts.put(put)

    async def put_writes(self, put: WritesPut) -> None:
        if put.writes:
            _ = self._puts.put_now(put) if self._now else await self._puts.put(put)
