"""The difference of two states: channel by channel, and message by message.

Values are JSON: dicts, lists, texts, numbers, booleans, None.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

Change = Literal["added", "removed", "changed", "same"]

_MessageKey = tuple[str, int]

_ABSENT = object()


def channel_changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns for each channel of two states how it changed from `a` to `b`, with its values unless they are the same."""
    return {name: _entry(a.get(name, _ABSENT), b.get(name, _ABSENT)) for name in {**a, **b}}


def message_changes(a: Any, b: Any) -> list[dict[str, Any]]:
    """Aligns the messages of two states by id, in the order of `b`; a message that only `a` has follows the one before it.

    Messages without an id are aligned by their content. Anything but a list counts as no messages.
    """
    left, right = _by_key(a), _by_key(b)
    after: dict[_MessageKey | None, list[_MessageKey]] = {}
    last: _MessageKey | None = None
    for key in left:
        if key in right:
            last = key
        else:
            after.setdefault(last, []).append(key)
    order = [*after.get(None, ())]
    for key in right:
        order.append(key)
        order.extend(after.get(key, ()))
    return [_message(left.get(key, _ABSENT), right.get(key, _ABSENT)) for key in order]


def _message(a: Any, b: Any) -> dict[str, Any]:
    named = b if isinstance(b, Mapping) else a
    id_ = named.get("id") if isinstance(named, Mapping) else None
    return {"id": id_ if isinstance(id_, str) else None, **_entry(a, b)}


def _entry(a: Any, b: Any) -> dict[str, Any]:
    if a is _ABSENT:
        return {"change": "added", "b": b}
    if b is _ABSENT:
        return {"change": "removed", "a": a}
    return {"change": "same"} if _same(a, b) else {"change": "changed", "a": a, "b": b}


def _same(a: Any, b: Any) -> bool:
    """Returns whether two values are the same JSON. In Python `1 == True` and `1 == 1.0`."""
    return bool(a == b) and _text(a) == _text(b)


def _by_key(messages: Any) -> dict[_MessageKey, Any]:
    """Returns messages by a key: the id or the content, and a number that tells those apart that have the same one."""
    found: dict[_MessageKey, Any] = {}
    counts: dict[str, int] = {}
    for message in messages if isinstance(messages, list) else ():
        id_ = message.get("id") if isinstance(message, Mapping) else None
        name = f"id {id_}" if isinstance(id_, str) else f"content {_text(message)}"
        counts[name] = counts.get(name, 0) + 1
        found[name, counts[name]] = message
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
