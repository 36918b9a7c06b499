"""Decides which channel values are stored in the checkpoint's row, next to their versions."""

from typing import Any

INLINE_TEXT = 200
"""Longest text, in characters, that is stored in the checkpoint's row."""


def inline_size(value: Any) -> int:
    """Returns the approximate bytes of a value that may be stored in the checkpoint's row; 0 for one that may not."""
    kind = type(value)
    if kind is str:
        return len(value) + 1 if len(value) <= INLINE_TEXT else 0
    if kind is int:
        return 1 + int(value.bit_length()) // 8
    if kind is float:
        return 9
    return 1 if value is None or kind is bool else 0
