"""A process's cache of checkpoints, so that unchanged values are stored once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.base import SerializerProtocol

from threadloom.checkpointer.serde import dumps_channel
from threadloom.checkpointer.versions import Versions
from threadloom.checkpointer.visible import SENDS
from threadloom.storage.lineage import CheckpointPut
from threadloom.storage.lineage.digests import digest_of_write, value_digest

KEPT_CHECKPOINTS = 4096
"""Checkpoints whose blob references a process caches. About 1 kB each."""

KEPT_DIGESTS = 4 * KEPT_CHECKPOINTS
"""Values whose digest a process caches, by blob. About 200 bytes each."""

BIG_STATE = 64 * 1024
"""Bytes of a state above which a thread's reads leave the event loop."""

K = TypeVar("K")
V = TypeVar("V")
CheckpointKey = tuple[str, str, str]
"""Thread, namespace, checkpoint id."""


NOT_STORED = -1
"""The era in the cache entry of a checkpoint that is not stored yet. No thread has this era."""


class KnownRefs(msgspec.Struct):
    """The blobs that a checkpoint refers to: channel -> (version, blob id). Valid while its thread's era does not change."""

    era: int
    refs: dict[str, tuple[Any, int]]


def known_refs(put: CheckpointPut, era: int, checkpoint: Checkpoint) -> KnownRefs:
    """Returns the blobs that a checkpoint refers to, once it is put in an era."""
    versions = checkpoint["channel_versions"]
    return KnownRefs(era, {channel: (versions.get(channel), blob) for channel, blob in put.refs.items()})


class Lru(Generic[K, V]):
    """A mapping of bounded size that evicts the least recently used entry. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def pop(self, key: K) -> V | None:
        with self._lock:
            return self._entries.pop(key, None)


class SaverCache:
    """A process's cache of checkpoints that it put or read. Nothing depends on it being complete."""

    def __init__(self) -> None:
        self.refs: Lru[CheckpointKey, KnownRefs] = Lru(KEPT_CHECKPOINTS)
        self.versions = Versions()
        self.digests: Lru[int, str] = Lru(KEPT_DIGESTS)
        self.big: Lru[str, bool] = Lru(KEPT_CHECKPOINTS)
        self._changed: Lru[str, Sequence[str]] = Lru(KEPT_CHECKPOINTS)
        self._newest_roots: Lru[str, str] = Lru(KEPT_CHECKPOINTS)
        self._early: Lru[CheckpointKey, list[tuple[str, str]]] = Lru(KEPT_CHECKPOINTS)

    def note_digest(self, blob: int, type_: str, data: bytes) -> str:
        """Caches the digest of a value and returns it."""
        digest = value_digest(type_, data)
        self.digests.put(blob, digest)
        return digest

    def dumps_of_writes(
        self, key: CheckpointKey, serde: SerializerProtocol
    ) -> Callable[[str, Any], tuple[str, bytes, bytes | None]]:
        """Returns a function that serializes what is written to a channel under a checkpoint, in the form to be stored. It also
        returns the digest to record, None for a value in its plain form.
        """
        known = self.refs.get(key)
        refs = {} if known is None else known.refs

        def dumps(channel: str, value: Any) -> tuple[str, bytes, bytes | None]:
            _, before = refs.get(channel, (None, None))
            type_, data = dumps_channel(serde, channel, value)
            stored_type, stored = self.versions.write(type_, data, before)
            return stored_type, stored, None if stored is data else digest_of_write(type_, channel, data)

        return dumps

    def put_begins(
        self,
        thread_id: str,
        namespace: str,
        checkpoint_id: str,
        parents: Mapping[str, str] | None,
        changed: Sequence[str] | None = None,
    ) -> list[tuple[str, str]] | None:
        """Records that a checkpoint is being stored. Returns the child checkpoints that were recorded before it and must be
        stored after it; None: none were.

        LangGraph stores in the background: the puts of the superstep that starts from a checkpoint may come before its own put.

        Args:
            parents: the checkpoints of the graphs around it, id by namespace.
            changed: the channels that differ from those of the previous checkpoint; None when unknown.
        """
        key = (thread_id, namespace, checkpoint_id)
        for around, id_ in (parents or {}).items():
            parent = (thread_id, around, id_)
            if parent != key and self.refs.get(parent) is None:
                self._early.put(parent, [*(self._early.get(parent) or []), (namespace, checkpoint_id)])
        early = self._early.pop(key)
        if not namespace:
            self._changed.put(thread_id, (SENDS,) if changed is None else changed)
            self._newest_roots.put(thread_id, checkpoint_id)
        self.refs.put(key, KnownRefs(NOT_STORED, {}))
        return early

    def writes_begin(self, thread_id: str, namespace: str, checkpoint_id: str) -> None:
        """Records that pending writes of a checkpoint are being stored."""
        key = (thread_id, namespace, checkpoint_id)
        if self.refs.get(key) is None and self._early.get(key) is None:
            self._early.put(key, [])

    def newest_root(self, thread_id: str) -> str | None:
        """Returns the id of the root checkpoint that a run of this process last put on a thread; None if it is not known."""
        return self._newest_roots.get(thread_id)

    def forget_newest(self, thread_id: str) -> None:
        """Forgets which root checkpoint of a thread this process last put: the head may have been moved, or a branch begun."""
        self._changed.pop(thread_id)
        self._newest_roots.pop(thread_id)

    def may_continue(self, thread_id: str, triggers: Container[str]) -> bool:
        """Returns whether the root checkpoint that this process last put on a thread may have tasks to execute.

        Args:
            triggers: the channels that start tasks.
        """
        changed = self._changed.get(thread_id)
        return changed is None or any(channel == SENDS or channel in triggers for channel in changed)
