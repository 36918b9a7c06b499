"""Returns the JSON schemas of a graph: input, output, state, config and context.

Most come from LangGraph. Where it fails only because a type is written with `typing.TypedDict` (which pydantic refuses below
Python 3.12), the type is converted to one that pydantic takes. A schema that cannot be built at all is None.
"""

import collections.abc
import dataclasses
import functools
import operator
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Annotated, Any

import typing_extensions
from langgraph.channels.base import BaseChannel
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from pydantic import ConfigDict, Field, TypeAdapter, create_model

from threadloom.graphs.draw import AnyGraph

Schema = dict[str, Any] | None

SUBGRAPH_TITLE = "LangGraphState"

_INPUTS: "weakref.WeakKeyDictionary[AnyGraph, Schema]" = weakref.WeakKeyDictionary()
"""A cache: schemas of messages take a dozen milliseconds to build, and every tool list needs them."""


def schemas(graph: AnyGraph, state_title: str = SUBGRAPH_TITLE) -> dict[str, Schema]:
    """Returns the five schemas of a graph, each None where it cannot be built (the context's also where there is no context).

    Args:
        state_title: title of the state's schema.
    """
    context = _built(lambda: _context(graph))
    has_context = getattr(graph, "context_schema", None) is not None
    return {
        "input_schema": _built(lambda: _asked(graph, "input")),
        "output_schema": _built(lambda: _asked(graph, "output")),
        "state_schema": _built(lambda: _state(graph, state_title)),
        "config_schema": context if has_context else {},
        "context_schema": context,
    }


def input_schema(graph: AnyGraph) -> Schema:
    """Returns the schema of a graph's input, None where it cannot be built. It is cached: do not change it."""
    if graph not in _INPUTS:
        _INPUTS[graph] = _built(lambda: _asked(graph, "input"))
    return _INPUTS[graph]


async def subgraphs(
    graph: AnyGraph, *, namespace: str | None = None, recurse: bool = False
) -> dict[str, dict[str, Schema]]:
    """Returns the schemas of a graph's subgraphs by their namespace (`outer|inner`).

    Args:
        namespace: only the subgraph there; a deeper one needs `recurse`.
        recurse: whether to include subgraphs of subgraphs.
    """
    if not isinstance(graph, Pregel):
        return {}
    return {name: schemas(found) async for name, found in graph.aget_subgraphs(namespace=namespace, recurse=recurse)}


def _built(build: Callable[[], Schema]) -> Schema:
    """Returns a schema, or None: user types may raise any error while a schema is built, and that must not fail the request."""
    try:
        return build()
    except Exception:
        return None


def _asked(graph: AnyGraph, which: typing.Literal["input", "output"]) -> Schema:
    """Returns the schema of the graph's input or output."""
    try:
        schema: Schema = getattr(graph, f"get_{which}_jsonschema")()
    except Exception:
        if not isinstance(graph, CompiledStateGraph):
            raise
        return _of(modern(getattr(graph.builder, f"{which}_schema")))
    return schema


def _context(graph: AnyGraph) -> Schema:
    try:
        schema: Schema = graph.get_context_jsonschema()  # type: ignore[attr-defined]
    except Exception:
        return _of(modern(graph.context_schema))  # type: ignore[attr-defined]
    return schema


def _state(graph: AnyGraph, title: str) -> Schema:
    """Returns the schema of the streamed state. Each key is optional and null at first."""
    if not isinstance(graph, Pregel):
        return None
    fields = {
        key: Annotated[modern(channel.ValueType), Field(default=None)]
        for key in graph.stream_channels_list
        if isinstance(channel := graph.channels.get(key), BaseChannel)
    }
    return _of(_typed_dict(title, fields)) | {"title": title}


def _of(type_: Any) -> dict[str, Any]:
    return TypeAdapter(type_).json_schema()


def modern(type_: Any, _seen: tuple[Any, ...] = ()) -> Any:
    """Returns the type with every `typing.TypedDict` in it, at any depth, replaced by one of `typing_extensions`.

    Dataclasses that contain one become pydantic models of the same name. A recursive type is replaced by `Any` within itself.
    """
    if sys.version_info >= (3, 12):
        return type_
    if type_ in _seen:
        return Any
    seen = (*_seen, type_)
    if typing.is_typeddict(type_):
        hints = typing_extensions.get_type_hints(type_, include_extras=True)
        fields = {key: _marked(type_, key, modern(hint, seen)) for key, hint in hints.items()}
        return _typed_dict(type_.__name__, fields, type_.__doc__)
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        return _model(type_, seen)
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if not arguments or origin in (typing.Literal, collections.abc.Callable):
        return type_
    if origin is Annotated:
        return Annotated[(modern(arguments[0], seen), *type_.__metadata__)]
    changed = tuple(modern(one, seen) for one in arguments)
    if changed == arguments:
        return type_
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, changed)
    return origin[changed]


def _marked(type_: Any, key: str, hint: Any) -> Any:
    """Returns a key's type marked as required or not, because inheritance may have removed that mark from the hint."""
    if typing_extensions.get_origin(hint) in (typing_extensions.Required, typing_extensions.NotRequired):
        return hint
    mark = typing_extensions.Required if key in type_.__required_keys__ else typing_extensions.NotRequired
    return mark[hint]


def _typed_dict(name: str, fields: dict[str, Any], doc: str | None = None) -> Any:
    make: Any = typing_extensions.TypedDict
    made = make(name, fields, total=False)
    made.__doc__ = doc
    return made


def _model(type_: Any, seen: tuple[Any, ...]) -> Any:
    hints = typing_extensions.get_type_hints(type_, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(type_):
        hint = modern(hints[field.name], seen)
        if field.default is not dataclasses.MISSING:
            fields[field.name] = (hint, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            fields[field.name] = (hint, Field(default_factory=field.default_factory))
        else:
            fields[field.name] = (hint, ...)
    return create_model(type_.__name__, __config__=ConfigDict(arbitrary_types_allowed=True), **fields)
