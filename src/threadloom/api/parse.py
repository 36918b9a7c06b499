"""Parses request bodies into request structs. Each error names the field."""

import functools
import re
from typing import Any, TypeVar, get_args

import msgspec
import orjson

from threadloom.codec import to_json
from threadloom.errors import Invalid
from threadloom.large import LARGE, TooDeepError, load_json
from threadloom.services.requests.bounds import DEPTH
from threadloom.services.requests.store import EXACT

T = TypeVar("T")

MAX_DEPTH = DEPTH.most
"""Maximum nesting of a body. Encoders stop at 254 levels, and stored values are wrapped in a few more."""

_ENCODER_DEPTH = 254
_TOO_DEEP = f"Invalid JSON in request body: nested deeper than {MAX_DEPTH} levels"
_PLACE = re.compile(r"(?P<text>.*?)(?: - at `\$(?P<path>.*)`)?\Z", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def parse(body: bytes, type_: type[T], plain: list[Any] | None = None) -> T:
    """Returns a body as a request struct.

    Args:
        plain: a list to which the body's plain JSON values are appended.

    Raises:
        Invalid: the body is no JSON, is nested too deep, or does not fit the struct.
    """
    loaded = load(body, exact=type_ in EXACT)
    if plain is not None:
        plain.append(loaded)
    value: T = shape(loaded, type_)
    return value


def load(body: bytes, *, exact: bool = False) -> Any:
    """Returns a body as plain JSON values. U+0000 in texts becomes U+FFFD, which every database accepts.

    Args:
        exact: whether integers beyond 64 bits stay integers. If not, they become floats.

    Raises:
        Invalid: the body is no JSON (including `NaN`, trailing data, lone surrogates), or nested too deep.
    """
    if len(body) >= LARGE:
        return _load_large(body, exact)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Invalid("Invalid JSON in request body") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _too_deep(value):
        raise Invalid(_TOO_DEEP)
    if exact:
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError as refused:
            raise Invalid(f"Invalid JSON in request body: {refused}") from None
    if b"\\u0000" in body:
        value = _without_nul(value)
    return value


def _load_large(body: bytes, exact: bool) -> Any:
    """As `load`, in pieces."""

    def loads(piece: bytes) -> Any:
        value = orjson.loads(piece)
        return msgspec.json.decode(piece) if exact else value

    try:
        value = load_json(body, loads, MAX_DEPTH)
    except TooDeepError:
        raise Invalid(_TOO_DEEP) from None
    except msgspec.DecodeError as refused:
        raise Invalid(f"Invalid JSON in request body: {refused}") from None
    except ValueError:
        raise Invalid("Invalid JSON in request body") from None
    return _without_nul(value) if b"\\u0000" in body else value


def shape(value: Any, type_: Any) -> Any:
    """Returns a JSON value as a struct, or as a list of structs. `2.0` is accepted as an integer.

    Raises:
        Invalid: the value does not fit; the text names field and value.
    """
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, dict):
            for name in _integers(type_):
                number = item.get(name)
                if isinstance(number, float) and number.is_integer() and abs(number) < 2**63:
                    item[name] = int(number)
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as refused:
        raise Invalid(describe(str(refused), value)) from None


def describe(message: str, value: Any) -> str:
    """Returns msgspec's message about `value`, with the field's name before it and the invalid value after it."""
    found = _PLACE.match(message)
    assert found is not None
    path = found["path"] or ""
    for name, index in _STEP.findall(path):
        if index and isinstance(value, list):
            value = value[int(index)]
        elif name and isinstance(value, dict) and name in value:
            value = value[name]
        else:
            break
    shown = to_json(value).decode()
    return f"{path.lstrip('.') or 'request body'}: {found['text']} (got {shown[:200]})"


def _too_deep(value: Any) -> bool:
    """Returns whether a value is nested deeper than MAX_DEPTH. The encoder finds that out faster than a traversal would."""
    for _ in range(_ENCODER_DEPTH - MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


@functools.cache
def _integers(type_: Any) -> tuple[str, ...]:
    """Returns the names of the fields that accept an integer but no float."""
    inner = next((arg for arg in get_args(type_) if isinstance(arg, type)), type_)
    info = msgspec.inspect.type_info(inner)
    if not isinstance(info, msgspec.inspect.StructType):
        return ()
    return tuple(field.encode_name for field in info.fields if _is_integer(field.type))


def _is_integer(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _is_integer(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(_is_integer(one) for one in kind.types)
    return isinstance(kind, msgspec.inspect.IntType)
