"""Text prefilters for a search for documents that contain another document: few documents then have to be parsed."""

from collections.abc import Iterator, Mapping
from typing import Any

from threadloom.codec import to_json

PREFILTERS = 8
"""Maximum number of text searches before a document is parsed. A text search costs a hundredth of parsing it."""


def certain_texts(wanted: Mapping[str, Any]) -> list[str]:
    """Returns texts that occur in every document that contains `wanted`, in the compact JSON that `codec` writes."""
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
    """Returns the common start of all spellings of a number. A whole number may be written `7` or `7.0`, and zero may have a
    sign.
    """
    if number == 0 or abs(number) >= 1e15:
        return ""
    return str(int(number)) if number == int(number) else to_json(number).decode()
