"""Which classes stored values may be rebuilt into: `checkpointer.serde`."""

from typing import Any, Literal, cast

import msgspec
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from threadloom.config.settings import Serde

Allowed = tuple[tuple[str, ...], ...] | Literal[True] | None


def make_serde(settings: Serde) -> SerializerProtocol:
    """LangGraph's serializer, as it is configured. A value of a class that is not allowed is read as the plain data within it."""
    more: dict[str, Any] = {}
    if settings.allowed_msgpack_modules is not msgspec.UNSET:
        allowed = cast(Allowed, settings.allowed_msgpack_modules)
        if isinstance(allowed, tuple):
            # LangGraph wants module and name; a path may be given in any number of parts.
            allowed = tuple((".".join(path[:-1]), path[-1]) for path in allowed)
        more["allowed_msgpack_modules"] = allowed
    return JsonPlusSerializer(
        pickle_fallback=settings.pickle_fallback,
        allowed_json_modules=cast(Allowed, settings.allowed_json_modules),
        **more,
    )
