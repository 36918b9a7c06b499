"""Digests of a thread's history, as they were recorded at the puts; and a check of the stored bytes against them."""

from collections.abc import Mapping, Sequence
from typing import Any

from threadloom.auth.authorize import Guard
from threadloom.checkpointer.versions import value_of, write_of
from threadloom.errors import StorageError
from threadloom.large import LARGE, aside
from threadloom.services.permission import visible_thread
from threadloom.services.responses import CheckpointDigestResponse, DigestsResponse
from threadloom.services.threads import missing
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.storage.lineage import CheckpointRow, Digests, PendingWrite
from threadloom.storage.lineage.digests import checkpoint_digest, combined, digest_of_write, split, value_digest
from threadloom.types import Caller

MOST_CHECKPOINTS = 1000
"""The largest number of checkpoints in one answer."""


class VerificationService:
    """Reads digests. Two histories are equal if the digests of their checkpoints are.

    Args:
        guard: authorizes callers.
    """

    def __init__(self, *, storage: Storage, guard: Guard) -> None:
        self._storage = storage
        self._guard = guard

    async def digests(
        self, caller: Caller, thread_id: str, *, before: str | None, limit: int, recompute: bool
    ) -> DigestsResponse:
        """Returns a page of digests, of the newest checkpoints first.

        Args:
            before: only checkpoints before this one.
            limit: at most so many.
            recompute: also reads the content, computes the digests from it, and tells what differs from what was recorded.

        Raises:
            NotFound: there is no such thread.
        """
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        rows = await self._page(thread_id, rule, before, limit + 1)
        check = _Check()
        found = [
            await self._checked(thread_id, row, check) if recompute else _answer(row, _recorded(row))
            for row in rows[:limit]
        ]
        return DigestsResponse(
            thread_id=thread_id,
            checkpoints=[one for one in found if one is not None],
            next=rows[limit - 1].checkpoint_id if len(rows) > limit else None,
        )

    async def _page(self, thread_id: str, rule: Filter | None, before: str | None, limit: int) -> Sequence[Digests]:
        async def work(tx: Tx) -> Sequence[Digests]:
            if await visible_thread(tx, thread_id, rule) is None:
                raise missing(thread_id)
            return await tx.lineage.digests(thread_id, before=before, limit=limit)

        return await self._storage.read(work, heavy=True)

    async def _checked(self, thread_id: str, listed: Digests, check: "_Check") -> CheckpointDigestResponse | None:
        """Returns the digest of the content of a checkpoint, and its damage. None if the checkpoint was deleted meanwhile."""
        try:
            row = await self._storage.read(
                lambda tx: tx.lineage.get(thread_id, listed.namespace, listed.checkpoint_id), heavy=True
            )
        except StorageError as error:
            # The database fails, or this row cannot be read.
            await self._storage.read(lambda tx: tx.threads.permitted(thread_id, None))
            return _answer(listed, None, [_unreadable(error)])
        except Exception as error:
            return _answer(listed, None, [_unreadable(error)])
        if row is None:
            return None
        try:
            large = sum(blob.size for blob in row.blobs.values()) + len(row.body) >= LARGE
            return await aside(check.answer, listed, row) if large else check.answer(listed, row)
        except Exception as error:
            return _answer(listed, None, [_unreadable(error)])


class _Check:
    """A check of the content of checkpoints. The digest of each value is computed once."""

    def __init__(self) -> None:
        self._values: dict[int, str] = {}

    def answer(self, listed: Digests, row: CheckpointRow) -> CheckpointDigestResponse:
        """Returns the digest of a checkpoint's content, and what differs from what was recorded."""
        values = {channel: self._value(id_, row) for channel, id_ in row.refs.items()}
        damage: list[str] = []
        recorded = split(listed.recorded)
        before: Mapping[str, str] = values
        if listed.recorded:
            if len(recorded) != len(values) + 1:
                damage.append("the record of the digests")
            else:
                before = dict(zip(sorted(values), recorded[1:], strict=True))
                damage += [f"the value of channel {name!r}" for name in sorted(values) if values[name] != before[name]]
                if recorded[0] != self._own(row, before):
                    damage.append("the checkpoint or its metadata")
        writes = {(write.task_id, write.idx): _write(write, row) for write in row.writes}
        for task_id, idx, text in listed.writes:
            actual = writes.get((task_id, idx))
            if text and actual is not None and split(text) != [actual]:
                damage.append(f"the pending write {idx} of task {task_id}")
        parts = [
            self._own(row, values),
            *_writes((write.task_id, write.idx, writes[write.task_id, write.idx]) for write in row.writes),
        ]
        return _answer(listed, parts, damage)

    def _value(self, id_: int, row: CheckpointRow) -> str:
        if id_ not in self._values:
            self._values[id_] = value_digest(*value_of(id_, row.blobs, {}))
        return self._values[id_]

    @staticmethod
    def _own(row: CheckpointRow, values: Mapping[str, str]) -> str:
        return checkpoint_digest(row.body_type, row.body, row.meta, values)


def _write(write: PendingWrite, row: CheckpointRow) -> str:
    type_, data = write_of(write, row, {})
    return "".join(split(digest_of_write(type_, write.channel, data)))


def _writes(writes: Any) -> list[str]:
    return [part for task_id, idx, digest in writes for part in (task_id, str(idx), digest)]


def _recorded(row: Digests) -> list[str] | None:
    """Returns what was recorded of a checkpoint and its pending writes; None if a part of it is unknown."""
    own = split(row.recorded)
    writes = [(task_id, idx, "".join(split(digest))) for task_id, idx, digest in row.writes]
    if not own or not all(digest for _, _, digest in writes):
        return None
    return [own[0], *_writes(writes)]


def _answer(row: Digests, parts: Sequence[str] | None, damage: Sequence[str] = ()) -> CheckpointDigestResponse:
    return CheckpointDigestResponse(
        checkpoint_ns=row.namespace,
        checkpoint_id=row.checkpoint_id,
        digest=None if parts is None else combined([row.namespace, row.checkpoint_id, row.parent or "", *parts]),
        damage=list(damage),
    )


def _unreadable(error: Exception) -> str:
    return f"it cannot be read: {error or type(error).__name__}"
