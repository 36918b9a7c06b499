"""Histories on PostgreSQL: putting checkpoints and pending writes, and copying threads.

The same rows as on SQLite, and the same rules: they are only ever added, and the newest counts. What a single writer gives there
for nothing is asked for here: a lock on the thread's lineage, shared by those who add, alone for those who copy or take away.
"""

from collections.abc import Iterable
from typing import Any

from threadloom.errors import LostLeaseError, StaleRefsError
from threadloom.lineage.cut import edge_at
from threadloom.lineage.segments import UNBOUNDED, Edge
from threadloom.storage.lineage import CheckpointPut, WritesPut
from threadloom.storage.postgres.collect import LineageCuts
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.lineage_reads import SQL

__all__ = ["PostgresLineage", "era_of", "put_values"]


class PostgresLineage(LineageCuts):
    """`Lineage` of the storage protocol."""

    async def put(self, put: CheckpointPut) -> int:
        return era_of(put, await self._db.fetchval(SQL["put"], put_values(put)))

    async def put_writes(self, put: WritesPut) -> None:
        if put.writes:
            era_of(put, await self._db.fetchval(SQL["put"], put_values(put)))

    async def copy(self, source: str, target: str, *, at: str | None = None) -> str | None:
        await self._keep_others_out(source, target)
        newest: str | None
        taken, head, parent, upto, now, has_row, newest = await self._db.fetchrow(SQL["copied"], source, target)
        if taken:
            raise ValueError(f"thread {target} has a history")
        if head is None and at is not None:
            raise KeyError(at)
        if head is None:
            return None
        edge: Edge | None
        if at is None:
            above = () if parent is None else ((parent, upto),)
            edge = edge_at(((head, UNBOUNDED), *above), now, lambda *_: has_row)
        else:
            place = await self._db.fetchrow(SQL["place_of"], source, at)
            if place is None:
                raise KeyError(at)
            edge, newest = (place[0], place[1]), at
        if edge is not None:
            await self._db.execute(SQL["begin"], target, *edge)
        return newest


def _texts(texts: Iterable[str]) -> list[str]:
    """Texts for an array."""
    return [escaped(text) for text in texts]


def put_values(put: CheckpointPut | WritesPut) -> tuple[Any, ...]:
    """A put as the database's type `lineage_put`."""
    if isinstance(put, WritesPut):
        writes = [(write.task_id, write.idx, write.channel, write.type, write.data, write.path) for write in put.writes]
        return (put.thread_id, put.run_id, put.fence, None, put.ns, put.cid, *[None] * 11, writes)
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
        [(blob.id, blob.type, blob.data) for blob in put.blobs],
        None if early is None else _texts(ns for ns, _ in early),
        None if early is None else _texts(cid for _, cid in early),
        None,
    )


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
