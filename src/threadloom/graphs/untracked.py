"""State keys that are never stored: those whose channel is LangGraph's `UntrackedValue`.

LangGraph omits them from checkpoints. But its stream contains them, so they are removed from what is stored of the stream.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langgraph.channels import UntrackedValue
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.pregel import Pregel

DEEPEST_EVENT = 4
"""Depth to which the data of a callback event is searched for keys."""


class Untracked:
    """The untracked keys of a graph and its subgraphs.

    Args:
        by_names: the keys, by the names of the nodes that contain a subgraph; `()` is the graph itself.
    """

    def __init__(self, by_names: Mapping[tuple[str, ...], Collection[str]]) -> None:
        self._by_names = by_names
        self._all = frozenset(key for keys in by_names.values() for key in keys)

    def without(self, namespace: Sequence[str], mode: str, chunk: Any) -> Any:
        """Returns a chunk of a stream mode without untracked keys."""
        if mode == "events":
            return {**chunk, "data": _deep_without(chunk.get("data"), self._all, DEEPEST_EVENT)}
        keys = self._keys(namespace)
        if not keys:
            return chunk
        match mode:
            case "values":
                return without(chunk, keys)
            case "updates":
                return {node: update if node == INTERRUPT else without(update, keys) for node, update in chunk.items()}
            case "tasks" | "checkpoints":
                return _payload_without(chunk, keys)
            case "debug":
                return {**chunk, "payload": _payload_without(chunk["payload"], keys)}
        return chunk

    def of_input(self, namespace: str, given: Any) -> Any:
        """Returns a graph's input without its untracked keys: a parent graph may have put its own there."""
        keys = self._keys(namespace.split("|") if namespace else ())
        return without(given, keys) if keys else given

    def _keys(self, namespace: Sequence[str]) -> Collection[str] | None:
        # A numeric part counts the calls of a graph within one task.
        return self._by_names.get(tuple(part.partition(":")[0] for part in namespace if not part.isdigit()))

    def of_root(self, values: Any) -> Any:
        """Returns values of the root graph without untracked keys."""
        keys = self._by_names.get(())
        return without(values, keys) if keys else values


def untracked(graph: Any) -> Untracked | None:
    """Returns the untracked keys of a graph; None when it and its subgraphs have none."""
    found: dict[tuple[str, ...], Collection[str]] = {}
    for name, inner in (("", graph), *graph.get_subgraphs(recurse=True)):
        channels = inner.channels if isinstance(inner, Pregel) else {}
        keys = frozenset(key for key, channel in channels.items() if isinstance(channel, UntrackedValue))
        if keys:
            found[tuple(name.split("|")) if name else ()] = keys
    return Untracked(found) if found else None


def without(values: Any, keys: Collection[str]) -> Any:
    """Returns a mapping, an object with fields, or a list of such, without some keys."""
    if isinstance(values, Mapping):
        return {key: value for key, value in values.items() if key not in keys}
    if isinstance(values, list | tuple):
        return [without(one, keys) for one in values]
    fields: Any = getattr(type(values), "model_fields", None)
    if fields is None and dataclasses.is_dataclass(values):
        fields = [field.name for field in dataclasses.fields(values)]
    if fields is None or not any(key in fields for key in keys):
        return values
    return {name: getattr(values, name, None) for name in fields if name not in keys}


def _payload_without(payload: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Returns the payload of a task, a task's result, or a checkpoint without some keys."""
    kept = {**payload}
    for part in ("input", "result", "values"):
        if part in kept:
            kept[part] = without(kept[part], keys)
    if "tasks" in kept:
        kept["tasks"] = [_payload_without(task, keys) for task in kept["tasks"]]
    return kept


def _deep_without(value: Any, keys: Collection[str], levels: int) -> Any:
    if levels == 0:
        return value
    if isinstance(value, dict):
        return {key: _deep_without(inner, keys, levels - 1) for key, inner in value.items() if key not in keys}
    if isinstance(value, list | tuple):
        return [_deep_without(inner, keys, levels - 1) for inner in value]
    return without(value, keys)
