"""Checkpoint histories and store items with encrypted content. A search in encrypted content decrypts it first."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from threadloom.codec import contains
from threadloom.encryption.cipher import CHECKPOINT
from threadloom.encryption.tables import PAGE, Table
from threadloom.lineage.segments import UNBOUNDED
from threadloom.lineage.turns import RootCheckpoint
from threadloom.storage.items import ItemQuery, matches
from threadloom.storage.lineage import (
    Blob,
    CheckpointPut,
    CheckpointRow,
    Digests,
    FormerHead,
    Moved,
    WritesPut,
)
from threadloom.types import Item

replace = msgspec.structs.replace


class SealedLineage(Table):
    """`storage.lineage.Lineage`."""

    PLAIN = (
        "exists",
        "copy",
        "copy_many",
        "branch_point",
        "begin_branch",
        "end_of_step",
        "root_of_cut",
        "newest_root",
        "delete",
        "prune",
        "rollback",
        "delete_run",
        "threads_of_run",
        "wrote",
        "view",
        "end_of_run",
        "usage",
        "steps",
        "place",
        "pending_of",
        "showing",
        "tags",
        "tag",
        "set_tag",
        "drop_tag",
    )

    async def put(self, put: CheckpointPut) -> int:
        era: int = await self._inner.put(self._sealer.checkpoint(put))
        return era

    async def put_writes(self, put: WritesPut) -> None:
        writes = [self._sealer.write(write) for write in put.writes]
        await self._inner.put_writes(replace(put, writes=writes))

    async def latest(self, thread_id: str, namespace: str, *, at: int = UNBOUNDED) -> CheckpointRow | None:
        return self._one(await self._inner.latest(thread_id, namespace, at=at))

    async def get(self, thread_id: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
        return self._one(await self._inner.get(thread_id, namespace, checkpoint_id))

    async def history(
        self,
        thread_id: str,
        *,
        namespace: str | None = None,
        checkpoint_id: str | None = None,
        before: str | None = None,
        limit: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        branch: bool = False,
    ) -> list[CheckpointRow]:
        clear, hidden = _parted(metadata)
        wanted: dict[str, Any] = {
            "namespace": namespace,
            "checkpoint_id": checkpoint_id,
            "metadata": clear,
            "branch": branch,
        }
        if not hidden:
            return self._opened(await self._inner.history(thread_id, before=before, limit=limit, **wanted))
        found: list[CheckpointRow] = []
        while limit is None or len(found) < limit:
            rows = await self._inner.history(thread_id, before=before, limit=PAGE, **wanted)
            found += [row for row in self._opened(rows) if contains(row.meta, hidden)]
            if len(rows) < PAGE:
                break
            before = rows[-1].checkpoint_id
        return found[:limit]

    async def everything(
        self,
        *,
        before: str | None = None,
        limit: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> list[CheckpointRow]:
        clear, hidden = _parted(metadata)
        rows = await self._inner.everything(before=before, limit=None if hidden else limit, metadata=clear)
        return [row for row in self._opened(rows) if contains(row.meta, hidden)][:limit]

    async def path(
        self, thread_id: str, namespace: str, checkpoint_id: str, channels: Collection[str]
    ) -> list[CheckpointRow]:
        return self._opened(await self._inner.path(thread_id, namespace, checkpoint_id, channels))

    async def digests(self, thread_id: str, *, before: str | None, limit: int) -> Sequence[Digests]:
        found = await self._inner.digests(thread_id, before=before, limit=limit)
        opened = [self._sealer.opened_digests(one) for one in found]
        self._ready()
        return opened

    async def reset(self, thread_id: str, at: str, *, now: int, record: Mapping[str, Any]) -> Moved:
        moved: Moved = await self._inner.reset(thread_id, at, now=now, record=self._sealer.former_record(record))
        return moved

    async def promote(self, thread_id: str, source: str, *, now: int, record: Mapping[str, Any]) -> Moved:
        moved: Moved = await self._inner.promote(thread_id, source, now=now, record=self._sealer.former_record(record))
        return moved

    async def undo(self, thread_id: str, *, now: int, record: Mapping[str, Any]) -> FormerHead | None:
        former = await self._inner.undo(thread_id, now=now, record=self._sealer.former_record(record))
        return None if former is None else self._opened_heads([former])[0]

    async def former_heads(self, thread_id: str) -> list[FormerHead]:
        return self._opened_heads(await self._inner.former_heads(thread_id))

    def _opened_heads(self, heads: Sequence[FormerHead]) -> list[FormerHead]:
        opened = [self._sealer.opened_former_head(head) for head in heads]
        self._ready()
        return opened

    async def root_checkpoints(self, thread_id: str, most: int, *, after: int = 0) -> list[RootCheckpoint]:
        rows = await self._inner.root_checkpoints(thread_id, most, after=after)
        opened = [row if row.messages is None else self._sealer.opened_root(row) for row in rows]
        self._ready()
        return opened

    def _one(self, row: CheckpointRow | None) -> CheckpointRow | None:
        return None if row is None else self._opened([row])[0]

    def _opened(self, rows: Sequence[CheckpointRow]) -> list[CheckpointRow]:
        blobs: dict[int, Blob] = {}
        opened = [self._sealer.opened_checkpoint(row, blobs) for row in rows]
        self._ready()
        return opened


class SealedItems(Table):
    """`storage.items.Items`."""

    PLAIN = ("refresh", "delete", "namespaces", "sweep", "warm")

    async def put(self, item: Item, vectors: Sequence[bytes], now: int) -> None:
        await self._inner.put(self._sealer.item(item), vectors, now)

    async def get(self, namespace: tuple[str, ...], key: str, now: int) -> Item | None:
        found = await self._inner.get(namespace, key, now)
        # `ready` is not called here: the store reads very many items one by one, and uses none of them before it has read all.
        return None if found is None else self._sealer.opened_item(found)

    async def search(self, query: ItemQuery, now: int) -> list[Item]:
        if not query.conditions:
            return self._opened(await self._inner.search(query, now))
        end = query.offset + query.limit
        found: list[Item] = []
        size = max(end, PAGE)
        offset = 0
        while len(found) < end:
            page = await self._inner.search(replace(query, conditions=(), limit=size, offset=offset), now)
            opened = self._opened(page)
            fitting = (item for item in opened if matches(query.conditions, msgspec.json.decode(item.value_json)))
            found += itertools.islice(fitting, end - len(found))
            if len(page) < size:
                break
            offset, size = offset + size, size * 2
        return found[query.offset :]

    def _opened(self, items: Sequence[Item]) -> list[Item]:
        opened = [self._sealer.opened_item(item) for item in items]
        self._ready()
        return opened


def _parted(metadata: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Splits a metadata filter of checkpoints in two: the part on unencrypted keys (with the thread's id), and the part on
    encrypted keys.
    """
    clear = {key: value for key, value in (metadata or {}).items() if key in CHECKPOINT}
    hidden = {key: value for key, value in (metadata or {}).items() if key not in CHECKPOINT}
    return clear or None, hidden
