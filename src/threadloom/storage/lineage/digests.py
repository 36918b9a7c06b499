"""Digests of what is stored, recorded at the put: of each channel value, of each checkpoint, of each pending write.

They are of the content before encryption and before a value is stored as instructions over an earlier one. So they are the same
in every copy, on every storage and under every key. XXH3 with 128 bits finds damage and accidental differences; it does not
withstand somebody who forges content and digest on purpose.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from xxhash import xxh3_128, xxh3_128_hexdigest

from threadloom.codec import sorted_json
from threadloom.storage.lineage.protocol import CheckpointPut, PendingWrite

LENGTH = 32
"""Characters of a digest: 16 bytes in hexadecimal."""

SHORT = 4096
"""Bytes of content that is joined and hashed in one call. For more, a copy takes longer than further calls."""

TINY = 16
"""Bytes of a pending write whose digest is cached."""


def value_digest(type_: str, data: bytes) -> str:
    """Returns the digest of a value, given its serializer's type and its whole bytes."""
    if len(data) <= SHORT:
        return xxh3_128_hexdigest(data + _utf8(type_))
    hasher = xxh3_128(data)
    hasher.update(_utf8(type_))
    return hasher.hexdigest()


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


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
    joined, head = "", "0 "
    if values:
        joined, head = _in_order(values)
    own = _own(put.body_type, put.body, put.meta, head)
    return f'"{own}{joined}"'.encode()


def _of_new(put: CheckpointPut, id_: int) -> str:
    """Returns the digest of a value that is stored whole with a put; empty if it is not."""
    whole = (value_digest(blob.type, blob.data) for blob in put.blobs if blob.id == id_ and blob.base is None)
    return next(whole, "")


def checkpoint_digest(body_type: str, body: bytes, meta: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Returns the digest of a checkpoint. It does not cover the ids of checkpoint and parent: a prune may remove the parent.

    Args:
        values: the digests of the channel values that are stored apart.
    """
    return _own(body_type, body, sorted_json(meta), _in_order(values)[1])


def _own(body_type: str, body: bytes, meta: bytes, values: str) -> str:
    # The lengths tell where one part ends and the next one begins.
    head = _utf8(f"{len(body)} {len(meta)} {body_type} {values}")
    return xxh3_128_hexdigest(head + body + meta)


def _in_order(values: Mapping[str, str]) -> tuple[str, str]:
    """Returns the digests of values in the order of the channels' names, and the text about them that a checkpoint's digest
    covers.
    """
    channels = sorted(values)
    names = " ".join(channels)
    joined = "".join([values[channel] for channel in channels])
    return joined, f"{len(names)} {names}{joined}"


def write_digest(write: PendingWrite) -> bytes:
    """Returns the digest that is stored with a pending write, as a JSON text. It covers the channel and the value. A write
    that is stored as instructions brings its digest with it.
    """
    if write.digest is not None:
        return write.digest
    digest = _tiny_write if len(write.data) <= TINY else digest_of_write
    return digest(write.type, write.channel, write.data)


def digest_of_write(type_: str, channel: str, data: bytes) -> bytes:
    """Returns the digest of a pending write as it is stored, given the serializer's type and the whole bytes of its value."""
    return f'"{value_digest(f"{type_} {channel}", data)}"'.encode()


_tiny_write = lru_cache(4096)(digest_of_write)
"""Most tiny writes are the same: each task writes nothing to the channel that triggers the next one."""


def split(recorded: bytes) -> list[str]:
    """Returns the digests of a JSON text. Empty if nothing was recorded, or if the text is no record of digests."""
    text = recorded[1:-1].decode("ascii", "replace")
    if len(text) % LENGTH or recorded[:1] + recorded[-1:] != b'""':
        return []
    return [text[start : start + LENGTH] for start in range(0, len(text), LENGTH)]


def combined(parts: Iterable[str]) -> str:
    """Returns one digest for several texts, in their order."""
    text = "".join([f"{len(part)} {part}" for part in parts])
    return xxh3_128_hexdigest(_utf8(text))
