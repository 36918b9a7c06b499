"""Histories on PostgreSQL: putting checkpoints and pending writes.

Rows and rules are the same as on SQLite: rows are only ever added, and the newest is valid. SQLite's single writer needs no
locks. Here a lock on the thread's lineage is taken: shared for adding rows, exclusive for copying or removing them.
"""

from typing import Any

import msgspec

from threadloom.errors import LostLeaseError, StaleRefsError
from threadloom.storage.lineage import CheckpointPut, WritesPut
from threadloom.storage.lineage.digests import checkpoint_digests, write_digest
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
    """Returns a put as a value of the database's type `lineage_put`."""
    if isinstance(put, WritesPut):
        namespace, checkpoint_id = put.namespace, put.checkpoint_id
        writes = [
            (
                write.task_id,
                write.idx,
                write.channel,
                write.type,
                write.data,
                write.path,
                write_digest(write),
            )
            for write in put.writes
        ]
        return (put.thread_id, put.run_id, put.fence, None, namespace, checkpoint_id, *[None] * 13, writes)
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
        put.messages,
        [msgspec.structs.astuple(blob) for blob in put.blobs],
        None if early is None else texts(namespace for namespace, _ in early),
        None if early is None else texts(checkpoint_id for _, checkpoint_id in early),
        checkpoint_digests(put) or None,
        None,
    )


def era_of(put: CheckpointPut | WritesPut, answer: int | None) -> int:
    """Returns the thread's era from the database's response.

    Raises:
        LostLeaseError: the run no longer holds the fence.
        StaleRefsError: the thread is in another era than `put.era`.
    """
    if answer is None:
        raise LostLeaseError(f"run {put.run_id} no longer holds fence {put.fence}")
    if answer <= 0 and isinstance(put, CheckpointPut):
        raise StaleRefsError(f"thread {put.thread_id} is in era {-answer}, not {put.era}")
    return answer
