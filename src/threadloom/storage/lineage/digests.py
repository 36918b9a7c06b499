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
    hasher = xxhash.xxh3_128(data)
    hasher.update(type_.encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()


def checkpoint_digests(put: CheckpointPut) -> bytes:
    """Returns the digests that are stored with a checkpoint, as a JSON text: that of the checkpoint, then those of the values
    that it refers to, in the order of the channels' names. Empty if the digest of an inherited value is unknown.
    """
    if put.digests is not None:
        return put.digests
    values = put.values
    if values.keys() != put.refs.keys():
        values = {channel: values.get(channel) or _of_new(put, blob) for channel, blob in put.refs.items()}
        if not all(values.values()):
            return b""
    own = checkpoint_digest(put.body_type, put.body, orjson.loads(put.meta), values)
    return f'"{own}{_in_order(values)}"'.encode()


def _of_new(put: CheckpointPut, id_: int) -> str:
    """Returns the digest of a value that is stored whole with a put; empty if it is not."""
    whole = (value_digest(blob.type, blob.data) for blob in put.blobs if blob.id == id_ and blob.base is None)
    return next(whole, "")


def checkpoint_digest(body_type: str, body: bytes, meta: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Returns the digest of a checkpoint. It does not cover the ids of checkpoint and parent: a prune may remove the parent.

    Args:
        values: the digests of the channel values that are stored apart.
    """
    metadata = _canonical(meta)
    # The lengths tell where one part ends and the next one begins.
    names = " ".join(sorted(values))
    head = f"{len(body)} {len(metadata)} {body_type} {len(names)} {names}{_in_order(values)}"
    return xxhash.xxh3_128_hexdigest(b"".join((head.encode("utf-8", "surrogatepass"), body, metadata)))


def _in_order(values: Mapping[str, str]) -> str:
    return "".join([values[channel] for channel in sorted(values)])


def write_digest(write: PendingWrite) -> bytes:
    """Returns the digest that is stored with a pending write, as a JSON text. It covers the channel and the value."""
    if write.digest is not None:
        return write.digest
    return b'"%b"' % value_digest(f"{write.type} {write.channel}", write.data).encode()


def split(recorded: bytes) -> list[str]:
    """Returns the digests of a JSON text. Empty if nothing was recorded, or if the text is no record of digests."""
    text = recorded[1:-1].decode("ascii", "replace")
    if len(text) % LENGTH or recorded[:1] + recorded[-1:] != b'""':
        return []
    return [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]


def combined(parts: Iterable[str]) -> str:
    """Returns one digest for several texts, in their order."""
    text = "".join([f"{len(part)} {part}" for part in parts])
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


def _canonical(meta: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(meta, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # texts that are not Unicode, or numbers beyond 64 bits
        return json.dumps(meta, sort_keys=True).encode()
