"""JSON documents in PostgreSQL: as they came, and as they are searched.

`jsonb` has no U+0000, and it compares numbers by their decimals where Python (and SQLite) compare values: a large float is
not what its shortest spelling says. So what is searched is stored in a form of its own, in which the database's equality and
containment are `storage.items.same` and `codec.contains`: whole floats are spelled as integers, and U+0000 is U+0001 and `0`,
U+0001 itself U+0001 and `1`. What a caller looks for is put in the same form.
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
    """A value that no stored document can equal."""


def text(value: Any) -> str | None:
    """A JSON text to be kept as it is; None stays None."""
    return None if value is None else to_json(value).decode()


def searchable(value: Any) -> str:
    """A document in the form that is searched, for a `jsonb` column or parameter."""
    found = escaped(to_json(value))
    if _FLOAT.search(found):
        return dump(_whole(orjson.loads(found)))
    return found.decode()


def escaped(document: bytes) -> bytes:
    """JSON without U+0000. The SQL function `tl_document` does the same."""
    return document.replace(b"\\u0001", b"\\u00011").replace(b"\\u0000", b"\\u00010")


def operand(value: Any) -> Any:
    """What a document's field is compared with, in the form that is searched.

    Raises:
        NoDocument: it is not plain JSON, so nothing equals it.
    """
    try:
        return json.loads(escaped(dump(_strict(value)).encode()))
    except UnicodeEncodeError as error:
        raise NoDocument from error


def dump(value: Any) -> str:
    """A value that is in the form that is searched, for a `jsonb` parameter."""
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
