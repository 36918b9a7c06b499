"""Checkpoints and pending writes on their way into the database: those that wait at the same moment go in together.

One call stores what many runs have put and commits it, which is worth more than anything else that could be done about the speed
of writing. For each thread it is first in, first out: LangGraph stores in the background, and a checkpoint must not come to
stand after what builds on it.
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
"""Puts that go in together at most: each takes a lock, and the table of locks is not endless."""

BATCH_BYTES = 256 * 1024
"""About how much data they have together."""

SENDERS = 2
"""Batches that an event loop has on their way at once."""

OVERDUE_SECONDS = 1.0
"""After so long, a put no longer waits for an earlier one on the same thread that another event loop has sent: that loop is
blocked, the database has had it long since, and the one that blocks it may be waiting for us."""

Put = CheckpointPut | WritesPut


class _Item:
    """One put, and who waits for it: a task of an event loop, or a thread."""

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
        """Tells who waits. Called on the event loop that sent it."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            self._tell(answer, error)
        else:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits there any more
                self._loop.call_soon_threadsafe(self._tell, answer, error)

    def _tell(self, answer: int | None, error: BaseException | None) -> None:
        if self._future.done():
            return  # was cancelled: the put stands all the same
        if error is None:
            self._future.set_result(answer)
        else:
            self._future.set_exception(separate(error))


class PutBatcher:
    """The way of puts into one database. For any thread."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: deque[_Item] = deque()
        self._sending: dict[str, LoopPool] = {}
        self._senders: dict[LoopPool, int] = {}

    async def put(self, put: Put) -> int:
        """Stores a checkpoint or pending writes; not undone by the caller's cancellation. Gives the thread's era.

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
        """The same for a thread that runs no event loop."""
        future: Future[int] = Future()
        self._add(_Item(put, None, future))
        self._database.call_in_background(self._look)
        return future.result()

    def _add(self, item: _Item) -> None:
        with self._lock:
            self._waiting.append(item)

    def _look(self) -> None:
        """On the loop aside: sees to what was handed in, and again later if it has to wait for another loop."""
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
        """Sends as long as there is something to be sent."""
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
        """The next batch: the oldest first, but of no thread that another batch is on its way for."""
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
        """Stores a batch and tells those who wait. One that fails takes no other along."""
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

        When the connection was lost on the way, it cannot be told whether it was carried out. So it is asked for: the ids of
        blobs are given once. What has no blobs can be stored twice, and nobody sees it.
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
    """The eras of the threads, if these puts are there; None if they are not, or it cannot be seen."""
    blobs = [put.blobs[0].id for put in puts if isinstance(put, CheckpointPut) and put.blobs]
    if not await session.fetchval(SQL["any_blob"], blobs):
        return None
    eras: dict[str, Any] = dict(await session.fetch(SQL["eras"], [escaped(put.thread_id) for put in puts]))
    return [eras.get(put.thread_id, 1) for put in puts]


class PutTx:
    """A transaction that is one put."""

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
