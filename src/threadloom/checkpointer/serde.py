"""Configures the classes that stored values may be rebuilt into: `checkpointer.serde`."""

import logging
import pickle
from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer, _create_msgpack_ext_hook
from ormsgpack import OPT_NON_STR_KEYS, unpackb

from threadloom.checkpointer.values import (
    CONSTRUCTORS,
    EXT_PYDANTIC_V2,
    OPTION,
    Unreadable,
    UnstorableError,
    default,
    pack_slowly,
    packb,
)
from threadloom.codec import MESSAGES
from threadloom.config.settings import Serde
from threadloom.large import LARGE, load_msgpack
from threadloom.usercode import text_of

log = logging.getLogger("threadloom.checkpointer")

Allowed = tuple[tuple[str, ...], ...] | Literal[True] | None

_ORDINARY = frozenset({dict, list, str, int, float, bool, tuple})
"""Types whose values msgpack encodes directly."""

SETTING = "checkpointer.serde.pickle_fallback"


class ValueSerializer(JsonPlusSerializer):
    """LangGraph's serializer, extended by the types of `values`. The default of every saver."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        allowed = self._allowed_msgpack_modules
        if allowed is True:
            self._unpack_ext_hook = _create_msgpack_ext_hook(cast(Any, _Everything()))
        else:
            self._allowed_msgpack_modules = (allowed or set()) | CONSTRUCTORS
            self._unpack_ext_hook = _create_msgpack_ext_hook(self._allowed_msgpack_modules)
        self._unpack_ext_hook = _reading_messages(self._unpack_ext_hook)

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Returns type and bytes of a value.

        Raises:
            UnstorableError: the value contains something that cannot be stored.
        """
        if type(obj) not in _ORDINARY:
            if obj is None:
                return "null", b""
            if isinstance(obj, bytes):
                return "bytes", obj
            if isinstance(obj, bytearray):
                return "bytearray", bytes(obj)
            if isinstance(obj, Unreadable):
                return obj.type, obj.data
        try:
            return "msgpack", packb(obj, default=default, option=OPTION)
        except TypeError as error:
            return self._dumps_slowly(obj, error)

    def _dumps_slowly(self, obj: Any, refusal: TypeError) -> tuple[str, bytes]:
        try:
            return "msgpack", pack_slowly(obj, refusal)
        except UnstorableError as error:
            if not self.pickle_fallback:
                raise
            try:
                return "pickle", pickle.dumps(obj)
            except Exception as failure:
                raise UnstorableError(f"{error}; pickle says: {text_of(failure)}") from failure

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Returns the value of a type and bytes; `Unreadable` in place of one that cannot be rebuilt."""
        try:
            if data[0] == "msgpack":
                if len(data[1]) < LARGE:
                    return unpackb(data[1], ext_hook=self._unpack_ext_hook, option=OPT_NON_STR_KEYS)
                return load_msgpack(data[1], self._unpack)
            return super().loads_typed(data)
        except Exception as error:
            if data[0] == "pickle" and not self.pickle_fallback:
                return Unreadable(*data, f"{SETTING} is not true")
            log.warning("a stored value cannot be read: %s", type(error).__name__)
            return Unreadable(*data, text_of(error))

    def _unpack(self, data: Any) -> Any:
        return unpackb(data, ext_hook=self._unpack_ext_hook, option=OPT_NON_STR_KEYS)


_MESSAGES: dict[tuple[str, str], tuple[type[BaseMessage], Callable[..., Any]]] = {
    (cls.__module__, cls.__name__): (cls, cls.__pydantic_validator__.validate_python) for cls in MESSAGES
}
"""The classes of messages by module and name as they are stored, each with what its constructor calls to validate the fields."""

_OF_LANGCHAIN = b"langchain_core.messages."


def _reading_messages(otherwise: Callable[[int, bytes], Any]) -> Callable[[int, bytes], Any]:
    """Returns a function that rebuilds messages in half the time: the class is not looked up, and its constructors in Python,
    which only pass the fields on, are not called.

    Args:
        otherwise: rebuilds everything else, and messages with fields that are not valid.
    """

    def hook(code: int, data: bytes) -> Any:
        if code == EXT_PYDANTIC_V2 and data.startswith(
            _OF_LANGCHAIN, 2
        ):  # behind the lengths of the list and of the text
            try:
                module, name, fields, _ = unpackb(data, ext_hook=hook, option=OPT_NON_STR_KEYS)
                cls, validate = _MESSAGES[module, name]
                if "content" in fields and "content_blocks" not in fields:
                    return validate(fields, self_instance=cls.__new__(cls))
            except Exception:
                return otherwise(code, data)
        return otherwise(code, data)

    return hook


class _Everything:
    """The set of allowed classes when every class is allowed. Each class is logged once."""

    def __init__(self) -> None:
        self._named: set[tuple[str, ...]] = set(CONSTRUCTORS)

    def __contains__(self, path: tuple[str, ...]) -> bool:
        if path not in self._named and len(self._named) < 1000:
            self._named.add(path)
            log.warning(
                "stored values are rebuilt into %s; checkpointer.serde.allowed_msgpack_modules can name the classes"
                " for which that is meant",
                ".".join(path),
            )
        return True


_NO_STATE_KEY = {
    "__interrupt__": "The value of an interrupt",
    "__resume__": "The answer to an interrupt",
    "__return__": "What a task returned",
    "__pregel_tasks": "What a Send carries",
}


def dumps_channel(serde: SerializerProtocol, channel: str, value: Any) -> tuple[str, bytes]:
    """Returns type and bytes of a value that is written to a channel.

    Raises:
        UnstorableError: it cannot be stored. The message names the state key and the remedy.
    """
    try:
        return serde.dumps_typed(value)
    except UnstorableError as error:
        what = _NO_STATE_KEY.get(channel, f"State key {channel!r}")
        raise UnstorableError(
            f"{what} cannot be stored: {error}. Give it as data (dicts, lists, text, numbers), declare the key as an"
            f" UntrackedValue, or set {SETTING} to true, which pickles such values."
        ) from error


def make_serde(settings: Serde) -> SerializerProtocol:
    """Returns the configured serializer. A value of a class that is not allowed is read as the plain data within it."""
    more: dict[str, Any] = {}
    if settings.allowed_msgpack_modules is not msgspec.UNSET:
        allowed = cast(Allowed, settings.allowed_msgpack_modules)
        if isinstance(allowed, tuple):
            # LangGraph takes module and name; a configured path may have any number of parts.
            allowed = tuple((".".join(path[:-1]), path[-1]) for path in allowed)
        more["allowed_msgpack_modules"] = allowed
    return ValueSerializer(
        pickle_fallback=settings.pickle_fallback,
        allowed_json_modules=cast(Allowed, settings.allowed_json_modules),
        **more,
    )
