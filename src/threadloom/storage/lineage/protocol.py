"""Histories of threads: what is stored, and the protocol that every storage implements."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from threadloom.lineage.segments import UNBOUNDED
from threadloom.lineage.turns import RootCheckpoint
from threadloom.storage.lineage.moves import HeadMoves


class Blob(msgspec.Struct, frozen=True):
    """A version of a channel's value that is too large for its checkpoint's row.

    Attributes:
        id: from `Storage.new_blob_id`.
        type: the serializer's type of the value.
        data: the bytes, or instructions that build them from the bytes of `base` (see `lineage.elements`).
        base: id of an earlier version, which every thread that sees this one also sees. None: `data` is whole.
        number: the number of this version in its chain of versions, from 1.
        size: the length of the whole value in bytes; by default that of `data`.
    """

    id: int
    type: str
    data: bytes
    base: int | None = None
    number: int = 1
    size: int = -1

    def __post_init__(self) -> None:
        if self.size < 0:
            msgspec.structs.force_setattr(self, "size", len(self.data))


def builds_on_others(refs: Mapping[str, int], blobs: Sequence[Blob]) -> bool:
    """Returns whether a checkpoint that refers to `refs` and adds `blobs` needs blobs that were stored before it."""
    return len(blobs) < len(refs) or any(blob.base is not None for blob in blobs)


def with_bases(ids: Iterable[int], blobs: Mapping[int, Blob]) -> dict[int, Blob]:
    """Returns the blobs with these ids, and all that they build on."""
    found: dict[int, Blob] = {}
    for id_ in ids:
        wanted: int | None = id_
        while wanted is not None and wanted not in found:
            blob = found[wanted] = blobs[wanted]
            wanted = blob.base
    return found


class CheckpointPut(msgspec.Struct, kw_only=True):
    """A checkpoint to store.

    Attributes:
        refs: the blob id of each large channel value. The blob is new (in `blobs`) or inherited.
        small: the channels whose value is in `body`: the size in bytes of a value that is new with this checkpoint, 0 for one
            that its parent had.
        era: the era (see `CheckpointRow`) in which inherited refs, and the bases of new blobs, were read; None when there are
            none.
        meta: its metadata as JSON with sorted keys (`codec.sorted_json`).
        messages: the record of its messages (`lineage.messages`); None if they are those of its parent.
        early: checkpoints of subgraphs, as (namespace, id), that build on this checkpoint but were stored before it. They, and
            pending writes of this checkpoint that were stored before it, are moved to positions after it.
        values: the digest of the value of each channel in `refs`, as far as it is known (see `lineage.digests`).
        digests: the digests to record, encrypted. None: they are computed from the put.
        run_id: the run that created the checkpoint.
        fence: the fence that the run must still hold. None: no run, no check.
    """

    thread_id: str
    namespace: str
    checkpoint_id: str
    parent: str | None
    body_type: str
    body: bytes
    refs: Mapping[str, int]
    blobs: Sequence[Blob]
    meta: bytes
    small: Mapping[str, int] = {}
    messages: bytes | None = None
    era: int | None = None
    early: Sequence[tuple[str, str]] | None = None
    values: Mapping[str, str] = {}
    digests: bytes | None = None
    run_id: str | None = None
    fence: int | None = None


class _Meta(msgspec.Struct, gc=False):
    """The metadata of a checkpoint that the map of a thread needs. They are not encrypted."""

    source: Any = None
    step: Any = None
    run_id: Any = None


_meta = msgspec.json.Decoder(_Meta).decode


def root_checkpoints(rows: Iterable[Sequence[Any]]) -> list[RootCheckpoint]:
    """Returns root checkpoints, oldest first. Of one that was put again, the newest row counts.

    Args:
        rows: position, id, parent, metadata as JSON, record of the messages; newest first.
    """
    found: dict[str, RootCheckpoint] = {}
    for pos, checkpoint_id, parent, meta, messages in rows:
        if checkpoint_id not in found:
            noted = _meta(meta)
            found[checkpoint_id] = RootCheckpoint(
                pos, checkpoint_id, parent, noted.source, noted.step, noted.run_id, messages
            )
    return list(reversed(found.values()))


class PendingWrite(msgspec.Struct, frozen=True):
    """One write of a task under a checkpoint. `idx` below 0 marks the special writes (error, interrupt, resume).

    `pos` is its position, 0 for one that is not stored yet. `digest` is the digest to record. None: it is that of `type`
    and `data`.
    """

    task_id: str
    idx: int
    channel: str
    type: str
    data: bytes
    path: str
    pos: int = 0
    digest: bytes | None = None


class WritesPut(msgspec.Struct, kw_only=True):
    """Pending writes to store under a checkpoint. For `idx` >= 0 the first put is valid, below 0 the last."""

    thread_id: str
    namespace: str
    checkpoint_id: str
    writes: Sequence[PendingWrite]
    run_id: str | None = None
    fence: int | None = None


class Digests(msgspec.Struct, frozen=True):
    """What was recorded of a checkpoint and its pending writes, in replay order (see `lineage.digests`). Empty: nothing.

    `writes` are `(task_id, idx, digest)`.
    """

    pos: int
    namespace: str
    checkpoint_id: str
    parent: str | None
    recorded: bytes
    writes: Sequence[tuple[str, int, bytes]]


Step = tuple[int, str, str | None]
"""A stored root checkpoint: its position, its id and the id of its parent."""


class CheckpointRow(msgspec.Struct, kw_only=True):
    """A checkpoint as a thread sees it: with its pending writes in replay order, the blobs it refers to, and those they build on.

    `era` changes whenever a row is removed from the thread's view. As long as it is the same, every blob that was once visible
    exists.
    """

    pos: int
    era: int
    thread_id: str
    namespace: str
    checkpoint_id: str
    parent: str | None
    body_type: str
    body: bytes
    refs: dict[str, int]
    blobs: dict[int, Blob]
    meta: dict[str, Any]
    writes: list[PendingWrite]
    small: dict[str, int] = {}


ChannelUsage = tuple[str, int, int, int, int]
"""Name of a channel, number of its values, their bytes, how many of these are inherited, and the stored bytes."""


class Usage(msgspec.Struct, kw_only=True):
    """How many rows and bytes a thread sees, and how many of the bytes are inherited."""

    checkpoints: tuple[int, int] = (0, 0)
    pending_writes: tuple[int, int] = (0, 0)
    channels: dict[str, tuple[int, int]] = {}
    shared_bytes: int = 0
    stored_bytes: int = 0


class Lineage(HeadMoves, Protocol):
    """The histories of threads. See docs/architecture.md, "How a copy works", for segments and positions."""

    async def put(self, put: CheckpointPut) -> int:
        """Stores a checkpoint on its thread's own segment. Returns the thread's era.

        Raises:
            LostLeaseError: the run no longer holds the fence.
            StaleRefsError: the thread is in another era than `put.era`; put again with all values.
        """
        ...

    async def put_writes(self, put: WritesPut) -> None:
        """Stores pending writes on the thread's own segment, whichever thread stored the checkpoint. Raises as `put`."""
        ...

    async def latest(self, thread_id: str, namespace: str, *, at: int = UNBOUNDED) -> CheckpointRow | None:
        """Returns the newest checkpoint of a namespace, by position, on the thread's newest branch.

        Args:
            at: as the thread was at this position.
        """
        ...

    async def get(self, thread_id: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
        """Returns one checkpoint by id, if the thread sees it, on whichever branch. It has the pending writes of the newest
        branch that shows it.
        """
        ...

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
        """Returns checkpoints, the newest first.

        Args:
            namespace: None for all namespaces.
            before: a checkpoint id (exclusive, by position). For an id that the thread never saw, ids are compared instead.
            metadata: only checkpoints whose metadata contain this. Applied before `limit`.
            branch: only what the newest branch shows.
        """
        ...

    async def everything(
        self, *, before: str | None = None, limit: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> list[CheckpointRow]:
        """Returns checkpoints of all threads, the newest first (the checkpoint library's `list(None)`)."""
        ...

    async def path(
        self, thread_id: str, namespace: str, checkpoint_id: str, channels: Collection[str]
    ) -> list[CheckpointRow]:
        """Returns the ancestors of a checkpoint, nearest first, as far back as the newest stored value of each channel.

        The rows contain the writes to these channels and, where the search for a channel ends, its blob. They contain nothing of
        other channels.
        """
        ...

    async def steps(self, thread_id: str, upto: int, limit: int) -> Sequence[Step]:
        """Returns the root checkpoints that a thread sees at or below a position, newest first, without their content. One that
        was put again is returned for each time.
        """
        ...

    async def newest_root(self, thread_id: str) -> str | None:
        """Returns the id of the newest root checkpoint that the current branch of a thread shows; None if there is none."""
        ...

    async def place(self, thread_id: str, checkpoint_id: str) -> tuple[int, int] | None:
        """Returns segment and position of a root checkpoint; None if the thread does not see it."""
        ...

    async def pending_of(self, thread_id: str, checkpoint_id: str) -> Collection[tuple[str, int]]:
        """Returns task and index of each pending write of a root checkpoint."""
        ...

    async def digests(self, thread_id: str, *, before: str | None, limit: int) -> Sequence[Digests]:
        """Returns the recorded digests of a thread's checkpoints, the newest first. No content is read.

        Args:
            before: only checkpoints with smaller positions than this one (of any namespace); none if the thread does not see it.
        """
        ...

    async def view(self, thread_id: str) -> tuple[int, int, int] | None:
        """Returns the head and the era of a thread, and the position of the newest root checkpoint that it has itself (0: none).
        As long as they are the same, it sees the same root checkpoints. None: it has no history.
        """
        ...

    async def root_checkpoints(self, thread_id: str, most: int, *, after: int = 0) -> list[RootCheckpoint]:
        """Returns the newest root checkpoints at positions above `after`, at most `most`, oldest first. No values are read."""
        ...

    async def exists(self, thread_id: str) -> bool:
        """Returns whether the thread has any checkpoint."""
        ...

    async def copy(
        self, source: str, target: str, *, at: str | None = None, namespace: str = "", keep: int | None = None
    ) -> str | None:
        """Makes `target`, which has no history yet, see everything that `source` sees now. No payload is read.

        Without `keep`, the cost is constant.

        Args:
            at: it sees everything that was put up to this checkpoint, without later pending writes of it. If the checkpoint
                belongs to a subgraph, the graphs around it are as they were at that moment, so that a run goes on inside it.
            namespace: the namespace of `at`.
            keep: it sees only that many root checkpoints: the newest, or the last up to `at`, and its ancestors; with them the
                newest checkpoints of their subgraphs and what delta channels are rebuilt from. They are stored anew.

        Returns:
            The id of the newest root checkpoint that `target` sees, None if there is none.

        Raises:
            KeyError: `source` does not see a checkpoint `at`.
            UnstoredParentError: a checkpoint of a graph around `at` was not stored.
            ValueError: `target` has a history.
        """
        ...

    async def copy_many(
        self,
        source: str,
        targets: Sequence[str],
        *,
        at: str | None = None,
        namespace: str = "",
        keep: int | None = None,
    ) -> str | None:
        """Does what `copy` does, for many threads whose ids are not known elsewhere yet, with as many statements and locks as for
        one. What `keep` stores anew is stored once.
        """
        ...

    async def root_of_cut(self, thread_id: str, namespace: str, checkpoint_id: str) -> tuple[str | None, int]:
        """Returns the newest root checkpoint of a copy at a checkpoint, and the position up to which the copy sees pending writes
        of it; 0 if it sees none. Raises as `copy`.
        """
        ...

    async def branch_point(
        self, thread_id: str, namespace: str, checkpoint_id: str, *, again: bool = False
    ) -> int | None:
        """Returns the position at which a branch has to begin for a change that starts from a checkpoint; None if the checkpoint
        is current, so that the change continues the newest branch, or if the thread does not see it.

        Args:
            again: whether the tasks of the checkpoint are executed again, also if it is the current one of a subgraph.
        """
        ...

    async def begin_branch(self, thread_id: str, at: int, *, run_id: str | None = None) -> None:
        """Begins a branch. From now on `latest` shows the thread as it was at a position, and what is put from now on. A rollback
        of the run, which may not have put anything yet, undoes it.
        """
        ...

    async def end_of_step(self, thread_id: str, namespace: str, checkpoint_id: str) -> int:
        """Returns the position up to which a thread is as the tasks of a checkpoint left it: before the next checkpoint of its
        namespace on its branch. Beyond all positions if it is current.
        """
        ...

    async def delete(self, thread_id: str) -> None:
        """Deletes the thread's history, with its former heads and tags. Rows that copies see stay until the copies are deleted
        too.
        """
        ...

    async def prune(self, thread_id: str) -> None:
        """Keeps the newest checkpoint of each namespace, without its parent, with its pending writes and the rows from which
        delta channels are rebuilt; and the same of what the thread saw at each checkpoint with a tag. Deletes the rest, with the
        former heads. A former head that alone shows a checkpoint with a tag stays as it is. Copies keep what they see.
        """
        ...

    async def rollback(self, thread_id: str, run_id: str) -> None:
        """Removes everything that a run has put: checkpoints and pending writes. The run is the last one that wrote on the
        thread.
        """
        ...

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """Removes everything that a run put on the thread from the thread's view, and drops the former heads that show any of
        it, and the tags of checkpoints that are gone then. Views of copies do not change.

        This is its checkpoints (by the `run_id` in their metadata) with their pending writes, and the pending writes that it put
        on other checkpoints, such as an answer.
        """
        ...

    async def threads_of_run(self, run_id: str) -> list[str]:
        """Returns the threads that a run wrote on, without copies of them."""
        ...

    async def wrote(self, thread_id: str, run_id: str) -> bool:
        """Returns whether the run has put a root checkpoint on the thread."""
        ...

    async def end_of_run(self, thread_id: str, run_id: str) -> int:
        """The first position of the run that wrote on the thread after this one; beyond all positions if there is none."""
        ...

    async def usage(self, thread_id: str) -> Usage:
        """Returns how many rows and bytes the thread sees, over all namespaces."""
        ...
