"""Histories of threads: what is stored of them, and the protocol that every storage meets for them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec


class Blob(msgspec.Struct, frozen=True):
    """A version of a channel's value that is too big for its checkpoint's row.

    Attributes:
        id: handed out by `Storage.new_blob_id`.
        type: how the serializer made bytes of the value.
        data: the bytes, or instructions that make them of the bytes of `base` (see `lineage.elements`).
        base: id of an earlier version that whoever sees this one sees, too. None: `data` is whole.
        number: which version it is in its chain of versions, from 1.
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
    """Whether a checkpoint that refers to `refs` and brings `blobs` needs blobs that were stored before it."""
    return len(blobs) < len(refs) or any(blob.base is not None for blob in blobs)


def with_bases(ids: Iterable[int], blobs: Mapping[int, Blob]) -> dict[int, Blob]:
    """The blobs with these ids, and all that they build on."""
    found: dict[int, Blob] = {}
    for id_ in ids:
        wanted: int | None = id_
        while wanted is not None and wanted not in found:
            blob = found[wanted] = blobs[wanted]
            wanted = blob.base
    return found


class CheckpointPut(msgspec.Struct, kw_only=True):
    """A checkpoint to store. `refs` names the blob of each big channel, new (in `blobs`) or inherited.

    `small` are the channels whose value stands in `body`: the bytes of a value that is new with this checkpoint, 0 for one
    that its parent had. `era` is the era (see `CheckpointRow`) in which the inherited refs, and what new blobs build on, were
    read; None when there are none. `early`: rows that build on this root checkpoint were stored before it, namely pending
    writes of its own and these checkpoints, as (namespace, id), of inner graphs; they are to stand after it. `run_id` is the
    run that made it, `fence` what it must still hold (None: no run, nothing to check).
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
    era: int | None = None
    early: Sequence[tuple[str, str]] | None = None
    run_id: str | None = None
    fence: int | None = None


class PendingWrite(msgspec.Struct, frozen=True):
    """One write of a task under a checkpoint. `idx` below 0 marks the special ones (error, interrupt, resume).

    `pos` is where it is stored, 0 for one that is yet to be.
    """

    task_id: str
    idx: int
    channel: str
    type: str
    data: bytes
    path: str
    pos: int = 0


class WritesPut(msgspec.Struct, kw_only=True):
    """Pending writes to store under a checkpoint. For `idx` >= 0 the first put wins, below 0 the last."""

    thread_id: str
    namespace: str
    checkpoint_id: str
    writes: Sequence[PendingWrite]
    run_id: str | None = None
    fence: int | None = None


class CheckpointRow(msgspec.Struct, kw_only=True):
    """A checkpoint as a thread sees it: with its pending writes in replay order, the blobs it refers to, and those they build on.

    `era` changes whenever something is taken out of the thread's view: as long as it stands, every blob once seen is there.
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
"""Name of a channel, number of its values, their bytes, how many of these it inherited, and the bytes as they are stored."""


class Usage(msgspec.Struct, kw_only=True):
    """What a thread reaches, in rows and bytes, and how many of the bytes it inherited."""

    checkpoints: tuple[int, int] = (0, 0)
    pending_writes: tuple[int, int] = (0, 0)
    channels: dict[str, tuple[int, int]] = {}
    shared_bytes: int = 0
    stored_bytes: int = 0


class Lineage(Protocol):
    """The histories of threads. See docs/architecture.md, "How a copy works", for segments and positions."""

    async def put(self, put: CheckpointPut) -> int:
        """Stores a checkpoint on its thread's own segment. Gives the thread's era.

        Raises:
            LostLeaseError: the run no longer holds the fence.
            StaleRefsError: the thread is in another era than `put.era`; put again with all values.
        """
        ...

    async def put_writes(self, put: WritesPut) -> None:
        """Stores pending writes on the thread's own segment, whoever made the checkpoint. Raises as `put`."""
        ...

    async def latest(self, thread_id: str, namespace: str) -> CheckpointRow | None:
        """The newest checkpoint of a namespace, by position."""
        ...

    async def get(self, thread_id: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
        """One checkpoint by id, if the thread sees it."""
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
    ) -> list[CheckpointRow]:
        """Checkpoints newest first. `namespace` None is all namespaces; `before` a checkpoint id (exclusive, by position; one
        that the thread never saw cuts by order of ids); `metadata` filters by containment before `limit` counts."""
        ...

    async def everything(
        self, *, before: str | None = None, limit: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> list[CheckpointRow]:
        """Checkpoints of all threads, newest first (the checkpoint library's `list(None)`)."""
        ...

    async def path(
        self, thread_id: str, namespace: str, checkpoint_id: str, channels: Collection[str]
    ) -> list[CheckpointRow]:
        """The ancestors of a checkpoint, nearest first, as far back as the newest stored value of each channel.

        The rows have the writes to these channels and, where one's search ends, its blob; nothing of other channels.
        """
        ...

    async def exists(self, thread_id: str) -> bool:
        """Whether the thread has any checkpoint."""
        ...

    async def copy(self, source: str, target: str, *, at: str | None = None) -> str | None:
        """Makes `target`, which has no history yet, see all that `source` sees now.

        With `at`, everything put up to that root checkpoint and none of its own later pending writes. Constant cost:
        no payload is read. Returns the id of the newest root checkpoint it took along, None if there was none.

        Raises:
            KeyError: `source` does not see a root checkpoint `at`.
            ValueError: `target` has a history.
        """
        ...

    async def copy_many(self, source: str, targets: Sequence[str], *, at: str | None = None) -> str | None:
        """The same for many threads whose ids nobody else knows yet: as many statements and locks as for one."""
        ...

    async def delete(self, thread_id: str) -> None:
        """Forgets the thread's history; what copies still see stays until they go too."""
        ...

    async def prune(self, thread_id: str) -> None:
        """Keeps the newest checkpoint of each namespace with its pending writes (and what delta channels need to be
        rebuilt), without parent; forgets the rest. Copies keep what they see."""
        ...

    async def rollback(self, thread_id: str, run_id: str) -> None:
        """Takes back all that a run, the last one to write on the thread, has put: checkpoints and pending writes."""
        ...

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """Removes all that a run put on the thread from its view, and from no copy's: its checkpoints (by the `run_id` in
        their metadata) with whatever hangs on them, and the pending writes it put on others, such as an answer."""
        ...

    async def threads_of_run(self, run_id: str) -> list[str]:
        """The threads that a run wrote on. Copies of them are not among them."""
        ...

    async def wrote(self, thread_id: str, run_id: str) -> bool:
        """Whether the run has put a root checkpoint on the thread."""
        ...

    async def usage(self, thread_id: str) -> Usage:
        """Rows and bytes that the thread reaches, over all namespaces."""
        ...
