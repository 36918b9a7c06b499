"""Which channel values stand in the checkpoint's row, beside the version that it has of them."""

from typing import Any

INLINE_TEXT = 200
"""Characters of a text that still stands in the checkpoint's row."""


def inline_size(value: Any) -> int:
    """Bytes (about) of a value that may stand in the checkpoint's row, 0 for one that may not."""
    kind = type(value)
    if kind is str:
        return len(value) + 1 if len(value) <= INLINE_TEXT else 0
    if kind is int:
        return 1 + int(value.bit_length()) // 8
    if kind is float:
        return 9
    return 1 if value is None or kind is bool else 0
