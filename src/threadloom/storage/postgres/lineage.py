"""Histories on PostgreSQL: putting checkpoints and pending writes.

The same rows as on SQLite, and the same rules: they are only ever added, and the newest counts. What a single writer gives there
for nothing is asked for here: a lock on the thread's lineage, shared by those who add, alone for those who copy or take away.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from threadloom.errors import LostLeaseError, StaleRefsError
from threadloom.storage.lineage import CheckpointPut, PendingWrite, WritesPut
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.lineage_reads import SQL
from threadloom.storage.postgres.segments import PostgresSegments

__all__ = ["PostgresLineage", "checkpoint_values", "era_of", "many_values", "writes_values"]


class PostgresLineage(PostgresSegments):
    """`Lineage` of the storage protocol."""

    async def put(self, put: CheckpointPut) -> int:
        return era_of(put, await self._db.fetchval(SQL["put"], *checkpoint_values(put)))

    async def put_writes(self, put: WritesPut) -> None:
        if put.writes:
            era_of(put, await self._db.fetchval(SQL["put_writes"], *writes_values(put)))


def _fields(write: PendingWrite) -> tuple[Any, ...]:
    return write.task_id, write.idx, write.channel, write.type, write.data, write.path


def _texts(texts: Iterable[str]) -> list[str]:
    """Texts for an array."""
    return [escaped(text) for text in texts]


def checkpoint_values(put: CheckpointPut) -> tuple[Any, ...]:
    """What `tl_put` is called with."""
    early = put.early
    return (
        put.thread_id,
        put.run_id,
        put.fence,
        put.era,
        put.ns,
        put.cid,
        put.parent,
        put.body_type,
        put.body,
        _texts(put.refs),
        list(put.refs.values()),
        _texts(put.small),
        list(put.small.values()),
        put.meta,
        [blob.id for blob in put.blobs],
        [blob.type for blob in put.blobs],
        [blob.data for blob in put.blobs],
        None if early is None else _texts(ns for ns, _ in early),
        None if early is None else _texts(cid for _, cid in early),
    )


def writes_values(put: WritesPut) -> tuple[Any, ...]:
    """What `tl_put_writes` is called with."""
    writes = put.writes
    return (
        put.thread_id,
        put.run_id,
        put.fence,
        put.ns,
        put.cid,
        _texts(write.task_id for write in writes),
        [write.idx for write in writes],
        _texts(write.channel for write in writes),
        _texts(write.type for write in writes),
        [write.data for write in writes],
        _texts(write.path for write in writes),
    )


def many_values(puts: Sequence[CheckpointPut | WritesPut]) -> list[Any]:
    """What `tl_put_many` is called with: a list for each field, and those of the lists within the puts one after the other."""
    # thread, run, fence, era, namespace, id, parent, body type, body, metadata
    plain: list[list[Any]] = [[] for _ in range(10)]
    # what each checkpoint refers to, its small values, its blobs, what it is to stand before; pending writes
    lists: list[list[list[Any]]] = [[[] for _ in range(width)] for width in (2, 2, 3, 2, 6)]
    counts: list[list[int | None]] = [[] for _ in lists]
    for put in puts:
        parts: list[Sequence[Sequence[Any]] | None]
        values: list[Any] = [put.thread_id, put.run_id, put.fence]
        if isinstance(put, CheckpointPut):
            values += [put.era, put.ns, put.cid, put.parent, put.body_type, put.body, put.meta]
            blobs = [(blob.id, blob.type, blob.data) for blob in put.blobs]
            parts = [list(put.refs.items()), list(put.small.items()), blobs, put.early, ()]
        else:
            values += [None, put.ns, put.cid, None, None, None, None]
            parts = [(), (), (), None, [_fields(write) for write in put.writes]]
        for column, value in zip(plain, values, strict=True):
            column.append(escaped(value) if type(value) is str else value)
        for columns, count, part in zip(lists, counts, parts, strict=True):
            count.append(None if part is None else len(part))
            for row in part or ():
                for column, value in zip(columns, row, strict=True):
                    column.append(escaped(value) if type(value) is str else value)
    return [*plain, *(one for count, columns in zip(counts, lists, strict=True) for one in (count, *columns))]


def era_of(put: CheckpointPut | WritesPut, answer: int | None) -> int:
    """The thread's era, as the database answered.

    Raises:
        LostLeaseError: the run no longer holds the fence.
        StaleRefsError: the thread is in another era than `put.era`.
    """
    if answer is None:
        raise LostLeaseError(f"run {put.run_id} no longer holds fence {put.fence}")
    if answer <= 0 and isinstance(put, CheckpointPut):
        raise StaleRefsError(f"thread {put.thread_id} is in era {-answer}, not {put.era}")
    return answer
