"""Versions of channel values: how each is stored, complete or as instructions over an earlier one, and how it is read back.

`lineage.elements` defines the instructions and which version builds on which.
"""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from threadloom.checkpointer.values import Unreadable
from threadloom.checkpointer.visible import NULL_TASK
from threadloom.lineage import elements
from threadloom.lineage.messages import CHANNEL, NO_MESSAGES, recorded, recorded_change
from threadloom.storage.lineage import Blob, CheckpointRow, PendingWrite

KEPT_BYTES = 64 * 1024 * 1024
"""Bytes of values, and of the offsets of their elements, that a process caches to build new versions on. A version whose base is
not cached is stored complete."""

SPLIT_TYPE = "msgpack"
"""The type of values of channels that have elements."""

JSON_TYPE = "json"
"""The type of values that are JSON texts of objects or lists."""

OVER_TYPE = "msgpack+over"
"""The type of a pending write whose data are instructions over the value of its channel in the checkpoint that it is pending on,
after the checksum of that value."""

_CHECKSUM = 4
"""Bytes of a checksum."""

Loads = Callable[[tuple[str, bytes]], Any]
"""Deserializes a value from its type and bytes."""


class Versions:
    """The newest versions of the values of active threads, and the versions that these build on. Thread-safe.

    Args:
        types: the types of values that have elements.
    """

    def __init__(self, *types: str) -> None:
        self._types = types or (SPLIT_TYPE,)
        self._held: OrderedDict[int, _Version] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def blob(self, id_: int, type_: str, data: bytes, before: int | None) -> Blob:
        """Returns a new version as it is to be stored, and caches it.

        Args:
            id_: the new blob's id.
            type_: the type of the value.
            data: its bytes.
            before: the blob of the previous version, None for none.
        """
        if type_ not in self._types or len(data) < elements.SMALLEST:
            return Blob(id_, type_, data)
        previous = None if before is None else self._get(before)
        version = _Version(data, 1, None)
        instructions = None
        if previous is not None:
            version.number = previous.number + 1
            version.split(previous)
            wanted = elements.base_number(version.number)
            base_id: int | None = before
            base: _Version | None = previous
            while base is not None and base.number > wanted:
                base_id = base.base
                base = None if base_id is None else self._get(base_id)
            if base is not None:
                instructions = elements.encode(version.value, base.value)
            if instructions is not None:
                version.base = base_id
            elif wanted:
                version.number = 1
        self._hold(id_, version)
        return Blob(
            id_, type_, data if instructions is None else instructions, version.base, version.number, size=len(data)
        )

    def write(self, type_: str, data: bytes, before: int | None) -> tuple[str, bytes]:
        """Returns type and bytes of a pending write as they are stored.

        Args:
            type_: the type of the value that is written.
            data: its bytes.
            before: the blob that the checkpoint has for the channel, None for none.
        """
        base = None if before is None or type_ != SPLIT_TYPE or len(data) < elements.SMALLEST else self._get(before)
        # Most writes add to a channel. Only one that is about as long as the channel's value is likely to contain it.
        if base is None or len(data) * elements.GAIN < len(base.data):
            return type_, data
        instructions = elements.encode(elements.Value(data, base.value), base.value)
        return (type_, data) if instructions is None else (OVER_TYPE, _checksum(base.data) + instructions)

    def messages(
        self, refs: Mapping[str, int], blobs: Iterable[Blob], before: Mapping[str, tuple[Any, int]]
    ) -> bytes | None:
        """Returns the record of the messages of a new checkpoint (`lineage.messages`); None if they are those of its parent.

        Args:
            refs: the blobs that the checkpoint refers to.
            blobs: the new ones of these.
            before: the versions and blobs that its parent refers to; empty if they are not cached.
        """
        earlier = before.get(CHANNEL)
        id_ = refs.get(CHANNEL)
        if id_ is None:
            return None if earlier is None else NO_MESSAGES
        new = next((blob for blob in blobs if blob.id == id_), None)
        if new is None:
            return None
        if new.type != SPLIT_TYPE:
            return NO_MESSAGES
        version = self._get(id_)
        if version is None:
            return recorded(new.data) if new.base is None else NO_MESSAGES
        previous = None if earlier is None else self._get(earlier[1])
        return recorded(version.data) if previous is None else recorded_change(version.value, previous.value)

    def learn(self, ids: Iterable[int], blobs: Mapping[int, Blob], whole: Mapping[int, bytes]) -> None:
        """Caches versions that were read, and the versions that they build on.

        Args:
            ids: the blobs that a checkpoint refers to.
            blobs: these and all that they build on.
            whole: the complete bytes of all of them.
        """
        for id_ in ids:
            next_id: int | None = id_
            while next_id is not None:
                blob = blobs[next_id]
                if blob.type in self._types and blob.size >= elements.SMALLEST:
                    self._hold(next_id, _Version(whole[next_id], blob.number, blob.base))
                next_id = blob.base

    def _get(self, id_: int) -> "_Version | None":
        with self._lock:
            version = self._held.get(id_)
            if version is not None:
                self._held.move_to_end(id_)
            return version

    def _hold(self, id_: int, version: "_Version") -> None:
        with self._lock:
            if id_ in self._held:
                self._held.move_to_end(id_)
                return
            self._held[id_] = version
            self._bytes += version.size
            while self._bytes > KEPT_BYTES:
                self._bytes -= self._held.popitem(last=False)[1].size


class _Version:
    """A cached version. It is split into its elements when that is first needed."""

    __slots__ = ("_value", "base", "data", "number", "size")

    def __init__(self, data: bytes, number: int, base: int | None) -> None:
        self.data = data
        self.number = number
        self.base = base
        self.size = len(data) + elements.count_of(data) * elements.OFFSET
        self._value: elements.Value | None = None

    @property
    def value(self) -> elements.Value:
        if self._value is None:
            self._value = elements.Value(self.data)
        return self._value

    def split(self, before: "_Version") -> None:
        """Splits the value, given the previous version."""
        self._value = elements.Value(self.data, before.value)


class Page:
    """The values of checkpoints that are read together: each version is rebuilt once.

    Args:
        shared: whether each version and each element is also decoded once. The checkpoints then share objects, so the values must
            only be shown, not changed.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.bytes: dict[int, bytes] = {}
        self._shared = shared
        self._values: dict[int, Any] = {}
        self._elements: dict[bytes, Any] = {}
        self._newest: elements.Value | None = None

    def value(self, id_: int, row: CheckpointRow, loads: Loads) -> Any:
        """Decodes a version.

        Args:
            id_: its blob.
            row: the checkpoint that refers to it.
            loads: deserializes a value from its type and bytes.
        """
        stored = value_of(id_, row.blobs, self.bytes)
        # What a command wrote under a checkpoint is shown as part of it: reducers are called, which may change values in place.
        if not self._shared or any(write.task_id == NULL_TASK for write in row.writes):
            return loads(stored)
        if id_ not in self._values:
            self._values[id_] = self._decoded(stored, loads)
        found = self._values[id_]
        return list(found) if type(found) is list else found

    def _decoded(self, stored: tuple[str, bytes], loads: Loads) -> Any:
        type_, data = stored
        if type_ != SPLIT_TYPE or len(data) < elements.SMALLEST:
            return loads(stored)
        value = self._newest = elements.Value(data, self._newest)
        if value.is_map or not value.starts:
            return loads(stored)
        found = []
        for start, end in pairwise(value.starts):
            part = data[start:end]
            if part not in self._elements:
                self._elements[part] = loads((type_, part))
                if isinstance(self._elements[part], Unreadable):
                    return loads(stored)
            found.append(self._elements[part])
        return found


def write_of(write: PendingWrite, row: CheckpointRow, known: dict[int, bytes]) -> tuple[str, bytes]:
    """Returns type and bytes of the value of a pending write. A write whose checkpoint has another value of the channel than it
    had keeps its stored form, which cannot be deserialized.

    Args:
        row: the checkpoint that it is pending on.
        known: as for `value_of`.
    """
    before = row.refs.get(write.channel)
    if write.type != OVER_TYPE or before is None or before not in row.blobs:
        return write.type, write.data
    base = value_of(before, row.blobs, known)[1]
    if not write.data.startswith(_checksum(base)):
        return write.type, write.data
    return SPLIT_TYPE, elements.apply(write.data[_CHECKSUM:], base)


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM)


def value_of(id_: int, blobs: Mapping[int, Blob], known: dict[int, bytes]) -> tuple[str, bytes]:
    """Returns type and bytes of a version.

    Args:
        id_: its blob.
        blobs: this blob and all that it builds on.
        known: the bytes of versions that were rebuilt before; those rebuilt here are added.
    """
    return blobs[id_].type, elements.whole(id_, blobs, known)
