"""Looking for documents that contain another: what their text has in it, so that few need be read."""

from collections.abc import Iterator, Mapping
from typing import Any

from threadloom.codec import to_json

PREFILTERS = 8
"""Texts looked for, at most, before a document is read: a search in text is a hundred times cheaper than reading it."""


def certain_texts(wanted: Mapping[str, Any]) -> list[str]:
    """Texts that every document containing `wanted` has in it, for the compact JSON that `codec` writes."""
    found = sorted(filter(None, _texts(wanted)), key=len, reverse=True)
    return found[:PREFILTERS]


def _texts(wanted: Mapping[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        name = to_json(key).decode()
        if isinstance(value, Mapping):
            yield f"{name}:{{"
            yield from _texts(value)
        elif isinstance(value, list):
            yield f"{name}:["
        elif value is None or isinstance(value, str | bool):
            yield f"{name}:{to_json(value).decode()}"
        else:
            yield f"{name}:{_start_of(value)}"


def _start_of(number: float) -> str:
    """What every spelling of a number begins with: a whole one may stand as `7` or `7.0`; zero has a sign or none."""
    if number == 0 or abs(number) >= 1e15:
        return ""
    return str(int(number)) if number == int(number) else to_json(number).decode()
