"""From what LangGraph streams to the events of the wire (contract, runs §7)."""

from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import BaseMessageChunk, message_chunk_to_message

NamedEvent = tuple[str, Any, str]
"""Event name, value, and the stream mode it belongs to."""

_LANGGRAPH_MODES = {"messages": "messages", "messages-tuple": "messages"}


def langgraph_modes(requested: Iterable[str]) -> list[str]:
    """The stream modes to ask LangGraph for. `values` is always among them: the run's output is read from it."""
    wanted = ["values", *(_LANGGRAPH_MODES.get(mode, mode) for mode in requested if mode != "events")]
    return list(dict.fromkeys(wanted))


class Translator:
    """Turns the chunks of one run's `astream` into events.

    Args:
        requested: stream modes of the request.
        thread_id: shown in the checkpoints of `debug` events.
    """

    def __init__(self, requested: Iterable[str], thread_id: str) -> None:
        self._requested = frozenset(requested)
        self._thread_id = thread_id
        self._messages: dict[str | None, BaseMessageChunk | None] = {}

    def events(self, ns: tuple[str, ...], mode: str, chunk: Any) -> Iterator[NamedEvent]:
        """The events of one chunk of a LangGraph stream mode in a namespace (`()` for the root)."""
        if mode == "messages":
            if "messages-tuple" in self._requested:
                yield _named("messages", ns), list(chunk), "messages-tuple"
            elif "messages" in self._requested:
                yield from self._accumulated(*chunk)
        elif mode in self._requested:
            if mode == "checkpoints":
                chunk = _checkpoint(chunk)
            elif mode == "debug" and chunk["type"] == "checkpoint":
                chunk = {**chunk, "payload": self._debug_checkpoint(chunk["payload"])}
            yield _named(mode, ns), chunk, mode

    def _accumulated(self, message: Any, metadata: Any) -> Iterator[NamedEvent]:
        """`messages` mode: each message so far, announced once, whatever graph it came from."""
        if message.id not in self._messages:
            self._messages[message.id] = None
            yield "messages/metadata", {message.id: {"metadata": metadata}}, "messages"
        if isinstance(message, BaseMessageChunk):
            before = self._messages[message.id]
            now = message if before is None else before + message
            assert isinstance(now, BaseMessageChunk)
            self._messages[message.id] = now
            yield "messages/partial", [message_chunk_to_message(now)], "messages"
        else:
            yield "messages/complete", [message], "messages"

    def _debug_checkpoint(self, payload: dict[str, Any]) -> dict[str, Any]:
        payload = _checkpoint(payload)
        payload["checkpoint"] = self._place(payload["config"])
        payload["parent_checkpoint"] = self._place(payload["parent_config"])
        payload["tasks"] = [self._debug_task(task) for task in payload["tasks"]]
        return payload

    def _debug_task(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task whose inner graph is named as states name it: `checkpoint` instead of a config under `state`."""
        if not _is_config(task.get("state")):
            return task
        inner = {"thread_id": self._thread_id, "checkpoint_ns": task["state"]["configurable"].get("checkpoint_ns", "")}
        return {key: value for key, value in task.items() if key != "state"} | {"checkpoint": inner}

    def _place(self, config: dict[str, Any] | None) -> dict[str, Any] | None:
        if not config:
            return None
        configurable = config["configurable"]
        place = {
            "checkpoint_id": configurable.get("checkpoint_id"),
            "thread_id": self._thread_id,
            "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        }
        inner = configurable.get("checkpoint_map")
        return {**place, "checkpoint_map": inner} if inner else place


def _named(mode: str, ns: tuple[str, ...]) -> str:
    return "|".join((mode, *ns)) if ns else mode


def _checkpoint(payload: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint payload without what LangGraph and we keep in configs for ourselves."""
    return {
        **payload,
        "config": _public(payload["config"]),
        "parent_config": _public(payload["parent_config"]),
        "tasks": [
            {**task, "state": _public(task["state"]) if _is_config(task.get("state")) else task.get("state")}
            for task in payload["tasks"]
        ],
    }


def _is_config(state: Any) -> bool:
    return isinstance(state, dict) and "configurable" in state


def _public(config: dict[str, Any] | None) -> dict[str, Any] | None:
    if config is None:
        return None
    configurable = {key: value for key, value in config["configurable"].items() if not key.startswith("__")}
    return {"configurable": configurable}
