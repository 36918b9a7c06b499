"""Compares two histories. The history of a copy may differ only in the thread's id."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

_MISSING = object()


def without_thread_ids(state: dict[str, Any]) -> dict[str, Any]:
    """Returns a state without the id of its thread, also in its metadata, its checkpoints, its tasks and their inner states."""
    plain = dict(state)
    for key in ("metadata", "checkpoint", "parent_checkpoint"):
        if isinstance(plain.get(key), dict):
            plain[key] = {name: value for name, value in plain[key].items() if name != "thread_id"}
    plain["tasks"] = [_task(task) for task in state.get("tasks") or []]
    return plain


def _task(task: dict[str, Any]) -> dict[str, Any]:
    plain = dict(task)
    if isinstance(plain.get("checkpoint"), dict):
        plain["checkpoint"] = {name: value for name, value in plain["checkpoint"].items() if name != "thread_id"}
    if isinstance(plain.get("state"), dict):
        plain["state"] = without_thread_ids(plain["state"])
    return plain


def first_difference(first: Iterable[dict[str, Any]], second: Iterable[dict[str, Any]]) -> str | None:
    """Describes the first difference of two histories (newest state first); None when they are the same."""
    for number, (one, other) in enumerate(itertools.zip_longest(first, second), start=1):
        if one is None or other is None:
            which = "first" if other is None else "second"
            return f"Only the {which} history has a state {number} (counted from the newest)."
        found = _difference(without_thread_ids(one), without_thread_ids(other), "")
        if found is not None:
            place, left, right = found
            checkpoint = (one.get("checkpoint") or {}).get("checkpoint_id", "?")
            return (
                f"The histories differ in state {number} (counted from the newest; checkpoint {checkpoint})\n"
                f"  at      {place}\n  first   {_shown(left)}\n  second  {_shown(right)}"
            )
    return None


def _difference(one: Any, other: Any, place: str) -> tuple[str, Any, Any] | None:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            found = _difference(one.get(key, _MISSING), other.get(key, _MISSING), f"{place}.{key}" if place else key)
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index, (left, right) in enumerate(itertools.zip_longest(one, other, fillvalue=_MISSING)):
            found = _difference(left, right, f"{place}[{index}]")
            if found is not None:
                return found
        return None
    if type(one) is not type(other) or one != other:
        return place or "the whole state", one, other
    return None


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "(nothing)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:300] + "…"
