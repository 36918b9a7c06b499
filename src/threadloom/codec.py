"""Values <-> JSON: how states, events and records look on the wire (contract, runs §6)."""

import base64
import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Set
from pathlib import PurePath
from typing import Any

import orjson
from langchain_core.messages import BaseMessage

from threadloom.faults import told

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

Fragment = orjson.Fragment
"""JSON text that is spliced in as it is."""


def to_json(value: Any) -> bytes:
    """A value as compact JSON, whatever a graph may hold.

    Dates are ISO texts, UUIDs and enums stand by value, dataclasses, pydantic models and messages are objects, sets and
    tuples lists, bytes base64, decimals numbers, durations seconds; NaN and infinities are null; exceptions are told as
    those of runs are. What has no JSON shape at
    all stands as its `repr`.
    """
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except (TypeError, UnicodeEncodeError, RecursionError):
        # Rare: integers beyond 64 bits, lone surrogates, odd keys, very deep values.
        return orjson.dumps(_tame(value, 0), default=_plain, option=_OPTIONS)


def to_lean_json(value: Any) -> bytes:
    """As `to_json`, but messages come without fields that say nothing (null, `{}`, `[]`), as the v2 event stream has them."""
    try:
        return orjson.dumps(value, default=_lean, option=_OPTIONS)
    except (TypeError, UnicodeEncodeError, RecursionError):
        return orjson.dumps(_tame(value, 0, _lean), default=_lean, option=_OPTIONS)


def from_json(text: bytes | str) -> Any:
    """The value of a JSON text."""
    return orjson.loads(text)


def contains(document: Any, wanted: Any) -> bool:
    """Whether a JSON document contains another (contract, threads §5; PostgreSQL's `@>`).

    Every key wanted is there and contains what is wanted of it; a list contains a list whose every item is contained in
    some item of it; numbers are equal by value, but text, numbers and truth values are different kinds.
    """
    if isinstance(wanted, Mapping):
        return isinstance(document, Mapping) and all(
            key in document and contains(document[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(document, list) and all(any(contains(item, want) for item in document) for want in wanted)
    if isinstance(wanted, bool) or isinstance(document, bool):
        return wanted is document
    if isinstance(document, Mapping | list):
        return False
    return bool(wanted == document)


def _plain(value: Any) -> Any:
    """What orjson cannot encode itself, in terms it can."""
    if isinstance(value, BaseMessage):
        return _message(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool | int | float):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, Set | deque | tuple):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, uuid.UUID | PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, BaseException):
        return told(value)
    if hasattr(value, "_asdict"):
        return value._asdict()
    if hasattr(value, "model_dump"):
        return _dumped(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "to_json") and callable(value.to_json) and not isinstance(value, type):
        return value.to_json()
    if hasattr(value, "tolist") and callable(value.tolist):
        return value.tolist()
    return repr(value)


def _message(message: BaseMessage) -> dict[str, Any]:
    """A LangChain message, five times as fast as `model_dump`: its own fields are what would be dumped.

    Only for langchain-core's own classes, whose fields have no aliases and no serializers of their own.
    """
    if type(message).__module__.startswith("langchain_core.messages"):
        fields = message.__dict__
        extra = message.__pydantic_extra__
        return {**fields, **extra} if extra else fields
    return message.model_dump()


def _lean(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return {name: field for name, field in _message(value).items() if name == "content" or _says(field)}
    return _plain(value)


def _says(field: Any) -> bool:
    return bool(field) if isinstance(field, dict | list) else field is not None


def _dumped(value: Any) -> Any:
    try:
        return value.model_dump()
    except Exception:
        return repr(value)


def _tame(value: Any, depth: int, plain: Callable[[Any], Any] = _plain) -> Any:
    """The same value without what orjson refuses: integers beyond 64 bits, lone surrogates, bottomless nesting."""
    if depth > 200:
        return repr(value)[:200]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else float(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return value
    if isinstance(value, Mapping):
        return {str(_tame(_key(key), depth)): _tame(item, depth + 1, plain) for key, item in value.items()}
    if isinstance(value, list | tuple | Set | deque):
        return [_tame(item, depth + 1, plain) for item in value]
    return _tame(plain(value), depth + 1, plain)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)
