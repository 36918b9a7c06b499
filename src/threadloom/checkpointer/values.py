"""Converts values to msgpack and back, in LangGraph's own format, and supports further types that nodes write.

LangGraph's serializer refuses numpy's scalars, fractions, complex numbers, ranges, integers beyond 64 bits and some keys, and
loses the content of arrays of dates, records and objects. This module writes them as calls of a constructor, which the format
supports, so LangGraph's own serializer reads most of them too.
"""

import dataclasses
import datetime
import decimal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde import jsonplus
from langgraph.checkpoint.serde.types import SendProtocol, _DeltaSnapshot
from langgraph.store.base import Item

from threadloom.codec import MESSAGES
from threadloom.usercode import repr_of, text_of

OPTION = jsonplus._option
EXT_PYDANTIC_V2 = jsonplus.EXT_PYDANTIC_V2
packb = ormsgpack.packb
Ext = ormsgpack.Ext

DEEPEST = 200
"""Nesting depth up to which a value is searched for unsupported keys and integers."""

_MESSAGE_DUMPS: dict[type, Callable[[Any], Any]] = {cls: cls.__pydantic_serializer__.to_python for cls in MESSAGES}
"""What `model_dump` of messages calls. Calling it directly takes half the time."""

_PLAIN_KEYS = (str, int, float, bool, bytes, type(None))

_NUMPY_SCALARS = (
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "longdouble", "complex64", "complex128", "clongdouble"),
    *("str_", "bytes_", "datetime64", "timedelta64"),
)

CONSTRUCTORS = frozenset(
    {
        ("builtins", "complex"),
        ("builtins", "dict"),
        ("builtins", "int"),
        ("builtins", "range"),
        ("builtins", "str"),
        ("fractions", "Fraction"),
        (__name__, "array_of"),
        (__name__, "mapping_of"),
        *(("numpy", name) for name in _NUMPY_SCALARS),
    }
)
"""The constructors that rebuild the values written here. All are harmless, so they are always allowed."""


class UnstorableError(TypeError):
    """A value that cannot be stored. The message names the type and the reason."""


class Unreadable:
    """Stands for a stored value that cannot be read now: its class is gone, or reading it is not allowed.

    Stored again, it is written with its original bytes, so continuing from it loses nothing. In place of a question, it has the
    attributes of one.

    Args:
        type, data: as stored.
        why: the error.
    """

    id = ""

    @property
    def value(self) -> str:
        return repr(self)

    def __init__(self, type: str, data: bytes, why: str) -> None:
        self.type = type
        self.data = data
        self._why = why

    def __repr__(self) -> str:
        return f"<a value stored as {self.type} that cannot be read: {self._why}>"


def pack(value: Any) -> bytes:
    """Returns a value as msgpack.

    Raises:
        UnstorableError: the value contains something that cannot be stored.
    """
    try:
        return packb(value, default=default, option=OPTION)
    except TypeError as error:
        return pack_slowly(value, error)


def pack_slowly(value: Any, refusal: TypeError) -> bytes:
    """Returns a value as msgpack that ormsgpack refuses: with large integers and unsupported keys. Finds what is unstorable.

    Args:
        refusal: ormsgpack's error.

    Raises:
        UnstorableError: as `pack`.
    """
    if "ecursion" in text_of(refusal):
        raise UnstorableError("it is nested too deeply, or contains itself") from None
    causes: list[Exception] = []

    def noting(found: Any) -> Any:
        try:
            return default(found)
        except Exception as error:
            causes.append(error)
            raise

    try:
        return packb(_wrapped(value, 0), default=noting, option=OPTION)
    except (TypeError, RecursionError) as error:
        cause = causes[0] if causes else error
        if isinstance(cause, UnstorableError):
            raise cause from None
        raise UnstorableError(text_of(cause)) from error


def _call(module: str, name: str, *args: Any) -> Any:
    return Ext(jsonplus.EXT_CONSTRUCTOR_POS_ARGS, pack((module, name, args)))


def _named(value: Any, code: int, content: Any) -> Any:
    """Encodes a value as its class and the arguments of its constructor."""
    cls = value.__class__
    return Ext(code, pack((cls.__module__, cls.__name__, content)))


def _model(name: str, value: Any, fields: Any) -> Any:
    """Encodes a pydantic model as its class and its fields."""
    return Ext(EXT_PYDANTIC_V2, pack((value.__class__.__module__, name, fields, "model_validate_json")))


def _name_of_generic(cls: type) -> str:
    """Returns the name by which a generic model with parameters is found in its module: usually the one without parameters."""
    name = cls.__name__
    return name if hasattr(sys.modules.get(cls.__module__), name) else name.partition("[")[0]


def default(value: Any) -> Any:
    """Encodes a value as LangGraph's serializer does, but encodes nested values with this module. For `ormsgpack.packb`.

    Raises:
        TypeError: it cannot be stored.
    """
    if (dump := _MESSAGE_DUMPS.get(type(value))) is not None:
        return _model(value.__class__.__name__, value, dump(value))
    if isinstance(value, _DeltaSnapshot):
        return Ext(jsonplus.EXT_DELTA_SNAPSHOT, pack(value.value))
    if hasattr(value, "model_dump") and callable(value.model_dump):
        cls = value.__class__
        name = cls.__name__ if "[" not in cls.__name__ else _name_of_generic(cls)
        return _model(name, value, value.model_dump())
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.generic):
            return _numpy_scalar(numpy, value)
        if isinstance(value, numpy.ndarray) and value.dtype.kind in "OVMm":
            return _numpy_array(numpy, value)
    if isinstance(value, float):
        return float(value)
    if hasattr(value, "get_secret_value"):
        return jsonplus._msgpack_default(value)
    if hasattr(value, "dict") and callable(value.dict):
        return _named(value, jsonplus.EXT_PYDANTIC_V1, value.dict())
    if hasattr(value, "_asdict") and callable(value._asdict):
        return _named(value, jsonplus.EXT_CONSTRUCTOR_KW_ARGS, value._asdict())
    if isinstance(value, set | frozenset | deque):
        return _named(value, jsonplus.EXT_CONSTRUCTOR_SINGLE_ARG, tuple(value))
    if isinstance(value, datetime.datetime):
        return jsonplus._msgpack_default(_base_moment(value))
    if isinstance(value, decimal.Decimal):
        return jsonplus._msgpack_default(decimal.Decimal(value))
    if isinstance(value, SendProtocol):
        timeout = getattr(value, "timeout", None)
        args = (value.node, value.arg) if timeout is None else (value.node, value.arg, timeout)
        return _named(value, jsonplus.EXT_CONSTRUCTOR_POS_ARGS, args)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
        return _named(value, jsonplus.EXT_CONSTRUCTOR_KW_ARGS, fields)
    if isinstance(value, Item):
        fields = {name: getattr(value, name) for name in Item.__slots__}
        return _named(value, jsonplus.EXT_CONSTRUCTOR_KW_ARGS, fields)
    if isinstance(value, BaseException):
        return repr_of(value)
    return jsonplus._msgpack_default(value)


def _base_moment(value: datetime.datetime) -> datetime.datetime:
    """Converts a moment of a class outside the standard library (pandas' Timestamp) to the standard library's class."""
    if type(value) is datetime.datetime:
        return value
    return datetime.datetime.combine(
        datetime.date(value.year, value.month, value.day),
        datetime.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold),
    )


_WRITERS: dict[type, Callable[[Any], Any]] = {
    complex: lambda value: _call("builtins", "complex", value.real, value.imag),
    range: lambda value: _call("builtins", "range", value.start, value.stop, value.step),
    Fraction: lambda value: _call("fractions", "Fraction", value.numerator, value.denominator),
}


def _numpy_scalar(numpy: Any, value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "Mm":
        unit, count = numpy.datetime_data(value.dtype)
        name = "datetime64" if kind == "M" else "timedelta64"
        if unit == "generic":
            return _call("numpy", name, "NaT") if numpy.isnat(value) else _call("numpy", name, int(value.view("i8")))
        return _call("numpy", name, int(value.view("i8")), unit if count == 1 else f"{count}{unit}")
    if kind == "V":
        return _numpy_array(numpy, numpy.asarray(value), scalar=True)
    if kind == "U":
        return _call("numpy", "str_", str(value))
    if kind == "S":
        return _call("numpy", "bytes_", bytes(value))
    if value.dtype.char in "gG":
        name, content = ("longdouble", str(value)) if value.dtype.char == "g" else ("clongdouble", complex(value))
        return _call("numpy", name, content)
    return _call("numpy", "bool_" if kind == "b" else value.dtype.name, value.item())


def _numpy_array(numpy: Any, array: Any, *, scalar: bool = False) -> Any:
    """Encodes an array that LangGraph's own form does not support: of dates, records or objects."""
    described = numpy.lib.format.dtype_to_descr(array.dtype)
    content = array.ravel().tolist() if array.dtype.hasobject else numpy.ascontiguousarray(array).tobytes()
    return _call(__name__, "array_of", described, list(array.shape), content, scalar)


def array_of(described: Any, shape: list[int], content: Any, scalar: bool = False) -> Any:
    """Returns the array that `_numpy_array` encoded, or its one element."""
    import numpy

    dtype: Any = numpy.lib.format.descr_to_dtype(_tuples(described))
    if dtype.hasobject:
        flat = numpy.empty(len(content), dtype=dtype)
        for number, item in enumerate(content):
            flat[number] = tuple(item) if dtype.names else item
    else:
        flat = numpy.frombuffer(content, dtype=dtype)
    array = flat.reshape(shape)
    return array[()] if scalar else array


def _tuples(described: Any) -> Any:
    """Returns numpy's description of a type with its tuples restored: msgpack has no tuples."""
    if isinstance(described, list):
        return [tuple(_tuples(part) if isinstance(part, list) else part for part in field) for field in described]
    return described


def _wrapped(value: Any, depth: int) -> Any:
    """Returns a value in which everything that msgpack does not support is a call of a constructor."""
    if depth > DEEPEST:
        return value
    if isinstance(value, int):
        small = -(2**63) <= value < 2**64
        return value if small else _call("builtins", "int", hex(value), 16)
    if isinstance(value, dict):
        return _wrapped_mapping(value, depth)
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return [_wrapped(item, depth + 1) for item in value]
    return value


def _wrapped_mapping(value: Mapping[Any, Any], depth: int) -> Any:
    if all(_is_plain_key(key) for key in value):
        return {key: _wrapped(item, depth + 1) for key, item in value.items()}
    pairs = [[_wrapped_key(key), _wrapped(item, depth + 1)] for key, item in value.items()]
    if any(isinstance(key, tuple) for key in value):
        return _call(__name__, "mapping_of", pairs)
    return _call("builtins", "dict", pairs)


def mapping_of(pairs: list[list[Any]]) -> dict[Any, Any]:
    """Returns the mapping with these keys and values; msgpack has turned its tuples into lists."""
    return {_hashable(key): value for key, value in pairs}


def _hashable(key: Any) -> Any:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def _is_plain_key(key: Any) -> bool:
    if type(key) is str:
        return key.isascii() or not any("\ud800" <= char <= "\udfff" for char in key)
    if type(key) is int:
        return -(2**63) <= key < 2**64
    return type(key) in _PLAIN_KEYS


def _wrapped_key(key: Any) -> Any:
    if type(key) is str and not _is_plain_key(key):
        return _call("builtins", "str", key.encode("utf-8", "surrogatepass"), "utf-8", "surrogatepass")
    return _wrapped(key, 0)
