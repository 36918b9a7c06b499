"""Digests of what is stored, recorded at the put: of each channel value, of each checkpoint, of each pending write.

They are of the content before encryption and before a value is stored as instructions over an earlier one. So they are the same
in every copy, on every storage and under every key. XXH3 with 128 bits finds damage and accidental differences; it does not
withstand somebody who forges content and digest on purpose.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import xxhash

from threadloom.storage.lineage.protocol import CheckpointPut, PendingWrite

LENGTH = 32
"""Characters of a digest: 16 bytes in hexadecimal."""


def value_digest(type_: str, data: bytes) -> str:
    """Returns the digest of a value, given its serializer's type and its whole bytes."""
    return _digest((type_,), data)


def checkpoint_digests(put: CheckpointPut) -> bytes:
    """Returns the digests that are stored with a checkpoint, as a JSON text: that of the checkpoint, then those of the values
    that it refers to, in the order of the channels' names. Empty if the digest of an inherited value is unknown.
    """
    if put.digests is not None:
        return put.digests
    new = {blob.id: blob for blob in put.blobs}
    values: dict[str, str] = {}
    for channel, id_ in put.refs.items():
        known = put.values.get(channel)
        if known is None:
            blob = new.get(id_)
            if blob is None or blob.base is not None:
                return b""
            known = value_digest(blob.type, blob.data)
        values[channel] = known
    own = checkpoint_digest(put.namespace, put.checkpoint_id, put.body_type, put.body, orjson.loads(put.meta), values)
    return _text([own, *(values[channel] for channel in sorted(values))])


def checkpoint_digest(
    namespace: str,
    checkpoint_id: str,
    body_type: str,
    body: bytes,
    meta: Mapping[str, Any],
    values: Mapping[str, str],
) -> str:
    """Returns the digest of a checkpoint without its parent, which a prune may remove.

    Args:
        values: the digests of the channel values that are stored apart.
    """
    parts = (part for channel in sorted(values) for part in (channel, values[channel]))
    return _digest((namespace, checkpoint_id, body_type, _canonical(meta), *parts), body)


def write_digest(namespace: str, checkpoint_id: str, write: PendingWrite) -> bytes:
    """Returns the digest that is stored with a pending write of a checkpoint, as a JSON text."""
    if write.digest is not None:
        return write.digest
    place = (namespace, checkpoint_id, write.task_id, str(write.idx), write.channel, write.path, write.type)
    return _text([_digest(place, write.data)])


def split(recorded: bytes) -> list[str]:
    """Returns the digests of a JSON text. Empty if nothing was recorded, or if the text is no record of digests."""
    text = recorded[1:-1].decode("ascii", "replace")
    if len(text) % LENGTH or recorded[:1] + recorded[-1:] != b'""':
        return []
    return [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]


def combined(parts: Iterable[str]) -> str:
    """Returns one digest for several texts, in their order."""
    return _digest(parts, b"")


def _text(digests: Iterable[str]) -> bytes:
    return b'"' + "".join(digests).encode() + b'"'


def _digest(texts: Iterable[str], data: bytes) -> str:
    hasher = xxhash.xxh3_128()
    for text in texts:
        part = text.encode("utf-8", "surrogatepass")
        hasher.update(b"%d:" % len(part) + part)
    hasher.update(data)
    return hasher.hexdigest()


def _canonical(meta: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(meta, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # texts that are not Unicode, or numbers beyond 64 bits
        return json.dumps(meta, sort_keys=True)
