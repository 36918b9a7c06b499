"""Histories on SQLite: putting checkpoints and pending writes.

Rows are only ever added. A checkpoint that is put again, or a special write, is a new row, and the newest is valid. So a cut at a
position always shows what was visible at that position, and changes to one thread are never visible in a copy. (LangGraph never
puts an id twice. If it is done, pending writes of an inherited checkpoint are not visible under the new row.)
"""

import orjson

from threadloom.errors import LostLeaseError, StaleRefsError
from threadloom.storage.lineage import CheckpointPut, WritesPut
from threadloom.storage.lineage.digests import checkpoint_digests, write_digest
from threadloom.storage.sqlite.lineage_reads import SQL
from threadloom.storage.sqlite.segments import CUTS, SqliteSegments

__all__ = ["SqliteLineage"]

_HEAD, _HEAD_FENCED = SQL["head"], SQL["head_fenced"]
_CHECKPOINT, _BLOB, _WRITE, _SPAN = (SQL[f"insert_{what}"] for what in ("checkpoint", "blob", "write", "span"))


class SqliteLineage(SqliteSegments):
    """`Lineage` of the storage protocol.

    Args:
        connection: the writer's, or a reader's for the reading half. There may be only one writing instance, because it keeps the
            sequence of positions in memory.
    """

    async def put(self, put: CheckpointPut) -> int:
        seg, era = self._own(put)
        if put.era is not None and put.era != era:
            raise StaleRefsError(f"thread {put.thread_id} is in era {era}, not {put.era}")
        pos = self._take()
        execute = self._db.execute
        for blob in put.blobs:
            execute(_BLOB, (blob.id, pos, blob.type, blob.data, blob.base, blob.number, blob.size))
        refs = orjson.dumps(put.refs).decode()
        small = orjson.dumps(put.small).decode()
        meta = put.meta.decode()
        execute(
            _CHECKPOINT,
            (
                *(pos, seg, put.namespace, put.checkpoint_id, put.parent, checkpoint_digests(put) or None),
                *(put.body_type, put.body, refs, small, meta, put.messages),
            ),
        )
        if put.run_id is not None:
            execute(_SPAN, (put.run_id, put.thread_id, pos))
        if put.early is not None:
            self._move_behind(seg, pos, put)
        return era

    async def put_writes(self, put: WritesPut) -> None:
        if not put.writes:
            return
        seg, _ = self._own(put)
        first = self._take(len(put.writes))
        thread_id, namespace, checkpoint_id = put.thread_id, put.namespace, put.checkpoint_id
        # The cursor must not outlive the call as a local variable, because it holds the prepared statement. Code that reads this
        # thread's frames (a watchdog, a profiler) may hold the last reference and release it on another thread. This resets the
        # statement while the next put is being executed: "bad parameter or other API misuse".
        stored = self._db.executemany(
            _WRITE,
            [
                (
                    pos,
                    seg,
                    namespace,
                    checkpoint_id,
                    write.task_id,
                    write.idx,
                    write.channel,
                    write.type,
                    write.data,
                    write.path,
                    write_digest(write),
                )
                for pos, write in enumerate(put.writes, first)
            ],
        ).rowcount
        if put.run_id is not None and stored:
            self._db.execute(_SPAN, (put.run_id, thread_id, first))

    def _own(self, put: CheckpointPut | WritesPut) -> tuple[int, int]:
        """Returns the segment to write on, created on first use, and the era. The run must hold its fence."""
        if put.fence is None:
            head = self._db.execute(_HEAD, (put.thread_id,)).fetchone()
        else:
            head = self._db.execute(_HEAD_FENCED, (put.thread_id, put.run_id, put.fence)).fetchone()
            if head is None:
                raise LostLeaseError(f"run {put.run_id} no longer holds fence {put.fence}")
        if head is None or head[0] is None:
            seg = self._take()
            self._db.execute(SQL["insert_segment"], (seg, None, None, None))
            self._db.execute(SQL["insert_head"], (put.thread_id, seg, seg))
            return seg, seg
        return head[0], head[1]

    def _move_behind(self, seg: int, pos: int, put: CheckpointPut) -> None:
        """Moves rows that build on a checkpoint, but were stored before it, to positions after it.

        So a cut at the checkpoint excludes all of them. LangGraph stores in the background: the results of a quick step, and the
        checkpoints of its subgraph, can be stored before the checkpoint from which the step started.
        """
        lower = self._bound_of_children(seg)
        checkpoints = []
        owners = [(put.namespace, put.checkpoint_id), *(put.early or ())]
        for namespace, checkpoint_id in put.early or ():
            places = self._db.execute(SQL["places_of_id"], (checkpoint_id,)).fetchall()
            checkpoints += [place for place, owner, where in places if owner == seg and where == namespace]
        writes = [
            row[2]
            for namespace, checkpoint_id in owners
            for row in self._db.execute(CUTS["write_places"], (seg, checkpoint_id, namespace, pos))
        ]
        moving = [(place, True) for place in checkpoints if lower < place < pos]
        moving += [(place, False) for place in writes if lower < place < pos]
        for place, is_checkpoint in sorted(moving):
            new = self._take()
            if is_checkpoint:
                self._db.execute(CUTS["shift_checkpoint"], (place, new))
                self._db.execute(CUTS["shift_blobs"], (place, new))
            else:
                self._db.execute(CUTS["shift_write"], (place, new))
