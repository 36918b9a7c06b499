"""What is recorded of the messages of a state when its checkpoint is put, so that turns can be told without reading values.

A record is JSON: the list of messages in parts. `[start, end]` are messages of the parent checkpoint's list. `[id, role, digest]`
is a new message. A fourth item is the list of the ids of its tool calls, or the id of the tool call that it answers. The id is
null for a message without an id, and the role too for an element that is no message.

The digest is of role, content and tool calls. So a message whose other fields changed is the same message.
"""

import base64
import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from threadloom.lineage.elements import Value

CHANNEL = "messages"
"""The channel whose messages are recorded."""

NO_MESSAGES = b"[]"

_OBJECT_CODES = (2, 4, 5)
"""Codes of msgpack extensions in which the checkpoint serializer stores an object as `[module, class, fields, …]`."""

_ROLES = {"user": "human", "assistant": "ai", "function": "tool", "developer": "system"}

_encode_json = msgspec.json.encode
_pack = msgspec.msgpack.encode


def recorded(value: Value, before: Value | None) -> bytes:
    """Returns the record of a list of messages.

    Args:
        value: the list, as it is stored.
        before: the list of the parent checkpoint, which `value` was compared with when it was split; None if it is not known.
    """
    if value.is_map or not value.starts:
        return NO_MESSAGES
    parts: list[list[Any]] = []
    shared = 0
    places: dict[bytes, int] = {}
    if before is not None and before.starts and not before.is_map:
        shared = value.shared
        if shared:
            parts.append([0, shared])
        if shared < len(before.starts) - 1:
            places = {
                before.data[start:end]: place
                for place, (start, end) in enumerate(pairwise(before.starts[shared:]), shared)
            }
    for start, end in pairwise(value.starts[shared:]):
        element = value.data[start:end]
        place = places.get(element)
        if place is None:
            parts.append(_entry(element))
        elif parts and len(parts[-1]) == 2 and parts[-1][1] == place:
            parts[-1][1] = place + 1
        else:
            parts.append([place, place + 1])
    return _encode_json(parts)


def _entry(element: bytes) -> list[Any]:
    """Returns what is recorded of a message."""
    try:
        fields = _unpack(element)
    except (msgspec.DecodeError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or "content" not in fields:
        return [None, None, ""]
    role = fields.get("type") or fields.get("role")
    calls = fields.get("tool_calls") or []
    role = _ROLES.get(role, role.removesuffix("MessageChunk").lower()) if isinstance(role, str) else None
    id_ = fields.get("id")
    digest = hashlib.blake2b(_pack([role, fields["content"], calls]), digest_size=6).digest()
    entry = [id_ if isinstance(id_, str) and id_ else None, role, base64.urlsafe_b64encode(digest).decode()]
    answered = fields.get("tool_call_id")
    if isinstance(answered, str):
        return [*entry, answered]
    ids = [call["id"] for call in calls if isinstance(call, Mapping) and isinstance(call.get("id"), str)]
    return [*entry, ids] if ids else entry


def _object(code: int, data: memoryview) -> Any:
    if code not in _OBJECT_CODES:
        return bytes(data)
    stored = _unpack(data)
    return stored[2] if isinstance(stored, list) and len(stored) > 2 else None


_unpack = msgspec.msgpack.Decoder(ext_hook=_object).decode
