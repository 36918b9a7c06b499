"""Histories on PostgreSQL: putting checkpoints and pending writes.

The same rows as on SQLite, and the same rules: they are only ever added, and the newest counts. What a single writer gives there
for nothing is asked for here: a lock on the thread's lineage, shared by those who add, alone for those who copy or take away.
"""

from typing import Any

import msgspec

from threadloom.errors import LostLeaseError, StaleRefsError
from threadloom.storage.lineage import CheckpointPut, WritesPut
from threadloom.storage.postgres.connections import texts
from threadloom.storage.postgres.lineage_reads import SQL
from threadloom.storage.postgres.segments import PostgresSegments

__all__ = ["PostgresLineage", "era_of", "put_values"]


class PostgresLineage(PostgresSegments):
    """`Lineage` of the storage protocol."""

    async def put(self, put: CheckpointPut) -> int:
        return era_of(put, await self._db.fetchval(SQL["put"], put_values(put)))

    async def put_writes(self, put: WritesPut) -> None:
        if put.writes:
            era_of(put, await self._db.fetchval(SQL["put"], put_values(put)))


def put_values(put: CheckpointPut | WritesPut) -> tuple[Any, ...]:
    """A put as the database's type `lineage_put`."""
    if isinstance(put, WritesPut):
        writes = [(write.task_id, write.idx, write.channel, write.type, write.data, write.path) for write in put.writes]
        return (put.thread_id, put.run_id, put.fence, None, put.namespace, put.checkpoint_id, *[None] * 11, writes)
    early = put.early
    return (
        put.thread_id,
        put.run_id,
        put.fence,
        put.era,
        put.namespace,
        put.checkpoint_id,
        put.parent,
        put.body_type,
        put.body,
        texts(put.refs),
        list(put.refs.values()),
        texts(put.small),
        list(put.small.values()),
        put.meta,
        [msgspec.structs.astuple(blob) for blob in put.blobs],
        None if early is None else texts(namespace for namespace, _ in early),
        None if early is None else texts(checkpoint_id for _, checkpoint_id in early),
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
