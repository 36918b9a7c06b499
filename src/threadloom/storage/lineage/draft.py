"""A draft: checkpoints and pending writes that can be read back at once and are stored later, all in one transaction.

A state update consists of several puts, with reads in between, made by LangGraph. With a draft they become part of one
transaction with the thread's record.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

import msgspec
import orjson

from threadloom.codec import sorted_json
from threadloom.lineage.segments import UNBOUNDED
from threadloom.storage.base import Storage, Tx
from threadloom.storage.lineage import Blob, CheckpointPut, CheckpointRow, PendingWrite, WritesPut, with_bases

T = TypeVar("T")

UNBORN = -1
"""The era of a thread whose first checkpoint is stored with the draft."""


class Draft:
    """A storage for one thread's checkpointer, on top of the real one. Only the lineage is drafted.

    Args:
        storage: the storage below, in which the draft is stored in the end.
        thread_id: the thread that is written to.
        metadata: added to the metadata of each checkpoint, except plain copies of others (`source: fork`).
        cut: a root checkpoint that is read as the thread's newest, and the position up to which pending writes of it are read.
        branch_at: a position. The draft begins a branch there: what is read as the newest is as the thread was there.
    """

    def __init__(
        self,
        storage: Storage,
        thread_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        cut: tuple[str, int] | None = None,
        branch_at: int | None = None,
    ) -> None:
        self._storage = storage
        self._branch_at = branch_at
        self._lineage = _DraftLineage(storage, thread_id, dict(metadata or {}), cut)
        self._lineage.at = UNBOUNDED if branch_at is None else branch_at

    async def rooted(self, tx: Tx) -> bool:
        """Returns whether the checkpoints that the draft builds on still exist."""
        for namespace, checkpoint_id in self._lineage.roots():
            if await tx.lineage.get(self._lineage.thread_id, namespace, checkpoint_id) is None:
                return False
        return True

    async def store(self, tx: Tx) -> None:
        """Stores the draft in its order, within a transaction.

        Raises:
            StaleRefsError: something was removed from the thread's history since. Make the draft again.
        """
        if self._branch_at is not None:
            await tx.lineage.begin_branch(self._lineage.thread_id, self._branch_at)
        era = None
        for put in self._lineage.puts:
            if isinstance(put, CheckpointPut):
                if put.era == UNBORN:
                    put = msgspec.structs.replace(put, era=era)
                era = await tx.lineage.put(put)
            else:
                await tx.lineage.put_writes(put)

    async def write(self, work: Callable[[Any], Awaitable[T]], *, heavy: bool = False, single: bool = False) -> T:
        await asyncio.sleep(0)  # a long draft never waits, so it lets other tasks run in between
        return await work(_DraftTx(self._lineage))

    async def read(self, work: Callable[[Any], Awaitable[T]], *, heavy: bool = False, deferred: bool = True) -> T:
        return await work(_DraftTx(self._lineage))

    def new_blob_id(self) -> int:
        return self._storage.new_blob_id()


class _DraftTx(msgspec.Struct, frozen=True):
    """The part of a transaction that a checkpointer uses."""

    lineage: "_DraftLineage"


class _DraftLineage:
    """The part of `storage.lineage.Lineage` that a checkpointer reads and writes through."""

    def __init__(self, storage: Storage, thread_id: str, metadata: dict[str, Any], cut: tuple[str, int] | None) -> None:
        self._storage = storage
        self.thread_id = thread_id
        self._metadata = metadata
        self._cut = cut
        self.at = UNBOUNDED
        self.puts: list[CheckpointPut | WritesPut] = []
        self._rows: dict[tuple[str, str], CheckpointRow] = {}
        self._newest: dict[str, str] = {}
        self._era = UNBORN
        self._writes: dict[tuple[str, str], dict[tuple[str, int], PendingWrite]] = {}
        self._blobs: dict[int, Blob] = {}

    def roots(self) -> list[tuple[str, str]]:
        """Returns namespace and id of each stored checkpoint that is the parent of a drafted one."""
        parents = {
            (put.namespace, put.parent): None for put in self.puts if isinstance(put, CheckpointPut) and put.parent
        }
        return [
            (namespace, checkpoint_id)
            for namespace, checkpoint_id in parents
            if checkpoint_id and (namespace, checkpoint_id) not in self._rows
        ]

    async def put(self, put: CheckpointPut) -> int:
        meta: dict[str, Any] = orjson.loads(put.meta)
        if self._metadata and meta.get("source") != "fork":
            meta |= self._metadata
            put.meta = sorted_json(meta)  # the form of which the digest is made
        self.puts.append(put)
        self._blobs.update({blob.id: blob for blob in put.blobs})
        self._rows[put.namespace, put.checkpoint_id] = CheckpointRow(
            pos=0,
            era=self._era,
            thread_id=self.thread_id,
            namespace=put.namespace,
            checkpoint_id=put.checkpoint_id,
            parent=put.parent,
            body_type=put.body_type,
            body=put.body,
            refs=dict(put.refs),
            # The blobs that it inherits came with a row that LangGraph read before, or with an earlier put.
            blobs=with_bases(put.refs.values(), self._blobs),
            meta=meta,
            writes=[],
            small=dict(put.small),
        )
        self._newest[put.namespace] = put.checkpoint_id
        return self._era

    async def put_writes(self, put: WritesPut) -> None:
        self.puts.append(put)
        kept = self._writes.setdefault((put.namespace, put.checkpoint_id), {})
        for write in put.writes:
            if write.idx < 0 or (write.task_id, write.idx) not in kept:
                kept[write.task_id, write.idx] = write

    async def latest(self, thread_id: str, namespace: str, *, at: int = UNBOUNDED) -> CheckpointRow | None:
        checkpoint_id = self._newest.get(namespace)
        if checkpoint_id is not None:
            return self._seen(self._rows[namespace, checkpoint_id])
        if self._cut is not None and not namespace:
            return await self.get(thread_id, namespace, self._cut[0])
        return self._seen(
            await self._storage.read(lambda tx: tx.lineage.latest(thread_id, namespace, at=min(at, self.at)))
        )

    async def get(self, thread_id: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
        row = self._rows.get((namespace, checkpoint_id))
        if row is None:
            row = await self._storage.read(lambda tx: tx.lineage.get(thread_id, namespace, checkpoint_id))
        return self._seen(row)

    async def path(
        self, thread_id: str, namespace: str, checkpoint_id: str, channels: Collection[str]
    ) -> list[CheckpointRow]:
        rows: list[CheckpointRow] = []
        missing = set(channels)
        while missing and (namespace, checkpoint_id) in self._rows:
            parent = self._rows[namespace, checkpoint_id].parent
            row = None if parent is None else await self.get(thread_id, namespace, parent)
            if row is None:
                return rows
            rows.append(row)
            missing.difference_update(row.refs, row.small)
            checkpoint_id = row.checkpoint_id
        if not missing:
            return rows
        stored = await self._storage.read(lambda tx: tx.lineage.path(thread_id, namespace, checkpoint_id, missing))
        return rows + [seen for seen in map(self._seen, stored) if seen is not None]

    def _seen(self, row: CheckpointRow | None) -> CheckpointRow | None:
        if row is None:
            return None
        self._blobs.update(row.blobs)
        self._era = row.era
        if self._cut is not None and row.checkpoint_id == self._cut[0] and not row.namespace:
            return msgspec.structs.replace(row, writes=[write for write in row.writes if write.pos <= self._cut[1]])
        if row.pos <= self.at < UNBOUNDED:  # what was written to it later is on the branch that is left
            row = msgspec.structs.replace(row, writes=[write for write in row.writes if write.pos <= self.at])
        drafted = self._writes.get((row.namespace, row.checkpoint_id))
        if not drafted:
            return row
        writes = {(write.task_id, write.idx): write for write in row.writes}
        for key, write in drafted.items():
            if key not in writes or write.idx < 0:
                writes[key] = write
        ordered = sorted(writes.values(), key=lambda write: (write.path, write.task_id, write.idx))
        return msgspec.structs.replace(row, writes=ordered)
