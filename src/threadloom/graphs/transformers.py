"""Streams a v2 run through the stream transformers of its graph or of the graph's file.

Transformers are LangGraph's extension point for event streams: they get every event, may change or withhold it, and may send
events of their own on channels that they name.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from langgraph.stream._convert import convert_to_protocol_event
from langgraph.stream._mux import StreamMux
from langgraph.stream.transformers import (
    LifecycleTransformer,
    MessagesTransformer,
    SubgraphTransformer,
    ValuesTransformer,
)

MODES = ("values", "updates", "messages", "custom", "tasks", "checkpoints", "tools")
"""LangGraph's stream modes that become channels."""

_CONTENT_BLOCKS = "__pregel_stream_messages_v2"
"""Key of `configurable` with which LangGraph streams messages as content blocks."""

_BUILT_IN = (ValuesTransformer, MessagesTransformer, LifecycleTransformer, SubgraphTransformer)

Spec = Callable[[tuple[str, ...]], Any]
"""Creates a transformer for a scope; usually a class."""


class StreamPart(NamedTuple):
    """One part of a graph's stream.

    `method` is a stream mode, or `custom:<name>` for the channel of that name of a transformer. `interrupts` are the questions
    that came with values.
    """

    method: str
    namespace: tuple[str, ...]
    data: Any
    interrupts: tuple[Any, ...] = ()


def own_transformers(module: Any) -> list[Spec]:
    """Returns the result of the function `stream_transformers` of a graph's file; an empty list when the file has none.

    Raises:
        TypeError: the result is not a list of transformer classes (or functions that create one for a scope).
    """
    function = getattr(module, "stream_transformers", None)
    if function is None:
        return []
    specs = function() if callable(function) else function
    if not isinstance(specs, list | tuple) or not all(callable(spec) for spec in specs):
        raise TypeError("stream_transformers() must return a list of stream transformer classes")
    return list(specs)


async def stream_parts(
    graph: Any,
    input_: Any,
    config: dict[str, Any],
    *,
    transformers: Sequence[Spec] = (),
    seen: Callable[[StreamPart], None],
    **call: Any,
) -> AsyncGenerator[StreamPart, None]:
    """Runs a graph and yields its stream, subgraphs included.

    Args:
        transformers: in addition to those that the graph was compiled with.
        seen: called with each part as the graph streamed it, before any transformer.
        call: further arguments of `astream`.

    Raises:
        Exception: any error of the graph or a transformer.
    """
    specs = [spec for spec in (*graph.stream_transformers, *transformers) if spec not in _BUILT_IN]
    pipeline = _Pipeline(specs) if specs else None
    modes = dict.fromkeys(MODES if pipeline is None else (*MODES, *pipeline.modes()))
    config = {**config, "configurable": {**config["configurable"], _CONTENT_BLOCKS: True}}
    stream = graph.astream(input_, config, stream_mode=list(modes), subgraphs=True, version="v2", **call)
    if pipeline is None:
        async for raw in stream:
            part = _part(raw)
            seen(part)
            yield part
        return
    try:
        async for raw in stream:
            seen(_part(raw))
            for part in await pipeline.pass_on(raw):
                yield part
    except BaseException as error:
        for part in await pipeline.fail(error):
            if isinstance(error, Exception):
                yield part
        raise
    for part in await pipeline.close():
        yield part


def _part(raw: Any) -> StreamPart:
    return StreamPart(raw["type"], tuple(raw["ns"]), raw["data"], tuple(raw.get("interrupts") or ()))


class _Pipeline:
    """The transformers of one run, combined with LangGraph's own as in its event stream."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self._passed: deque[Any] = deque()
        self._mux = StreamMux(factories=[*_BUILT_IN, *specs], is_async=True)
        self._mux._events._wire(self._passed.append)

    def modes(self) -> list[str]:
        """Returns the stream modes that the transformers require."""
        return [mode for one in self._mux._transformers for mode in one.required_stream_modes]

    async def pass_on(self, raw: Any) -> list[StreamPart]:
        """Passes one part of the graph's stream through the transformers. Returns what they sent because of it, then the part
        itself, unless they withheld it.
        """
        event = convert_to_protocol_event(raw)
        await self._mux.apush(event)
        passed = self._take()
        # LangGraph's own transformers withhold tasks from the main log, because they report tasks in another way.
        if event["method"] == "tasks":
            passed.append(_from_event(event))
        return passed

    async def close(self) -> list[StreamPart]:
        """Ends the pipeline after a successful run. Returns what was sent at the end."""
        await self._mux.aclose()
        return self._take()

    async def fail(self, error: BaseException) -> list[StreamPart]:
        """Ends the pipeline after a failed run. Returns what was sent at the end."""
        await self._mux.afail(error)
        return self._take()

    def _take(self) -> list[StreamPart]:
        parts = [_from_event(event) for event in self._passed if event["method"] != "lifecycle"]
        self._passed.clear()
        return parts


def _from_event(event: Any) -> StreamPart:
    params = event["params"]
    method: str = event["method"]
    if method not in MODES and method != "debug" and not method.startswith("custom:"):
        method = f"custom:{method}"
    return StreamPart(method, tuple(params["namespace"]), params["data"], tuple(params.get("interrupts") or ()))
