"""What is recorded of the messages of a state when its checkpoint is put, so that turns can be told without reading values.

A record is JSON: the list of messages in parts. `[start, end]` are messages of the parent checkpoint's list. `[id, role, digest]`
is a new message. A fourth item is the list of the ids of its tool calls, or the id of the tool call that it answers. The id is
null for a message without an id, and the role too for an element that is no message.

The digest is of role, content and tool calls. So a message whose other fields changed is the same message.
"""

from hashlib import blake2b
from itertools import pairwise
from typing import Any

import msgspec

from threadloom.lineage.elements import Value

CHANNEL = "messages"
"""The channel whose messages are recorded."""

NO_MESSAGES = b"[]"

_OBJECT_CODES = (2, 4, 5)
"""Codes of msgpack extensions in which the checkpoint serializer stores an object as `[module, class, fields, …]`."""

_USUAL = frozenset({"human", "ai", "tool", "system"})
_ROLES = {"user": "human", "assistant": "ai", "function": "tool", "developer": "system"}

_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""What decoding, or encoding again, may raise for a value of any kind. Nothing is recorded of such messages."""

_encode_json = msgspec.json.encode
_pack = msgspec.msgpack.encode


def recorded(data: bytes) -> bytes:
    """Returns the record of a list of messages that stands alone, given as msgpack."""
    try:
        found = _unpack(data)
        return _encode_json([_entry(message) for message in found]) if isinstance(found, list) else NO_MESSAGES
    except _ERRORS:
        return NO_MESSAGES


def recorded_change(value: Value, before: Value) -> bytes:
    """Returns the record of a list of messages.

    Args:
        value: the list. It was compared with `before` when it was split.
        before: the list of the parent checkpoint.
    """
    if value.is_map or before.is_map or not value.starts or not before.starts:
        return recorded(value.data)
    shared = value.shared
    parts: list[list[Any]] = [[0, shared]] if shared else []
    places: dict[bytes, int] = {}
    if shared < len(before.starts) - 1:
        places = {
            before.data[start:end]: place for place, (start, end) in enumerate(pairwise(before.starts[shared:]), shared)
        }
    for start, end in pairwise(value.starts[shared:]):
        element = value.data[start:end]
        place = places.get(element)
        if place is None:
            parts.append(_entry_of(element))
        elif parts and len(parts[-1]) == 2 and parts[-1][1] == place:
            parts[-1][1] = place + 1
        else:
            parts.append([place, place + 1])
    return _encode_json(parts)


def _entry_of(element: bytes) -> list[Any]:
    try:
        return _entry(_unpack(element))
    except _ERRORS:
        return [None, None, ""]


def _entry(message: Any) -> list[Any]:
    """Returns what is recorded of a message."""
    if not isinstance(message, dict) or "content" not in message:
        return [None, None, ""]
    role, id_ = message.get("type") or message.get("role"), message.get("id")
    calls = message.get("tool_calls") or []
    if not isinstance(role, str):
        role = None
    elif role not in _USUAL:
        role = _ROLES.get(role) or role.removesuffix("MessageChunk").lower()
    digest = blake2b(_pack([role, message["content"], calls]), digest_size=5).hexdigest()
    entry: list[Any] = [id_ if isinstance(id_, str) and id_ else None, role, digest]
    answered = message.get("tool_call_id")
    if isinstance(answered, str):
        entry.append(answered)
    elif calls:
        entry.append([call["id"] for call in calls if isinstance(call, dict) and isinstance(call.get("id"), str)])
    return entry


def _object(code: int, data: memoryview) -> Any:
    if code not in _OBJECT_CODES:
        return bytes(data)
    stored = _unpack(data)
    return stored[2] if isinstance(stored, list) and len(stored) > 2 else None


_unpack = msgspec.msgpack.Decoder(ext_hook=_object).decode
