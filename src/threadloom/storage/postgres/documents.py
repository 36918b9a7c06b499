"""JSON documents in PostgreSQL: as they were received, and in a searchable form.

`jsonb` cannot store U+0000. It compares numbers by their decimals, where Python (and SQLite) compare values: a large float does
not equal the decimal number of its shortest spelling. So documents that are searched are stored in a form in which the database's
equality and containment are the same as `storage.items.same` and `codec.contains`. In it, whole floats are spelled as integers,
U+0000 is U+0001 and `0`, and U+0001 is U+0001 and `1`. Search values are converted to the same form.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from threadloom.codec import to_json

_FLOAT = re.compile(rb"[:,\[]-?\d+[.eE]")
"""A float in compact JSON (or a text that looks like one)."""


class NoDocument(ValueError):
    """The search value equals no stored document."""


def text(value: Any) -> str | None:
    """Returns a value as JSON text that is stored as it is; None stays None."""
    return None if value is None else to_json(value).decode()


def searchable(value: Any) -> str:
    """Returns a document in the searchable form, for a `jsonb` column or parameter."""
    found = escaped(to_json(value))
    if _FLOAT.search(found):
        return dump(_whole(orjson.loads(found)))
    return found.decode()


def escaped(document: bytes) -> bytes:
    """Returns JSON without U+0000. The SQL function `tl_document` does the same."""
    return document.replace(b"\\u0001", b"\\u00011").replace(b"\\u0000", b"\\u00010")


def operand(value: Any) -> Any:
    """Returns a value with which a document's field is compared, in the searchable form.

    Raises:
        NoDocument: the value is not plain JSON, so nothing equals it.
    """
    try:
        return json.loads(escaped(dump(_strict(value)).encode()))
    except UnicodeEncodeError as error:
        raise NoDocument from error


def dump(value: Any) -> str:
    """Returns a value that is in the searchable form as text, for a `jsonb` parameter."""
    return json.dumps(value, ensure_ascii=False)


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


def _strict(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    raise NoDocument
