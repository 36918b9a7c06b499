"""Converts LangGraph's stream to the events that clients get (docs/contract/runs.md#stream-modes)."""

from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.messages import BaseMessageChunk, message_chunk_to_message

from threadloom.engine.subgraphs import Phase, Subgraph, Subgraphs
from threadloom.error_payloads import error_payload
from threadloom.types import CHECKPOINT_MARK
from threadloom.usercode import text_of

NamedEvent = tuple[str, Any, str]
"""Event name, value, and the stream mode it belongs to."""

_LANGGRAPH_MODES = {"messages": "messages", "messages-tuple": "messages"}


def langgraph_modes(requested: Iterable[str], *, subgraphs: bool, marks: bool) -> list[str]:
    """Returns the stream modes to request from LangGraph. `values` is always among them: the run's output is read from it.

    Args:
        subgraphs, marks: as in `Translator`.
    """
    # Subgraphs that report (`graphs.task_reports`) need a stream writer, which LangGraph provides only in the mode `custom`.
    lives = {"lifecycle": "tasks" if subgraphs else "custom"}
    wanted = ["values", *((_LANGGRAPH_MODES | lives).get(mode, mode) for mode in requested if mode != "events")]
    return list(dict.fromkeys([*wanted, "checkpoints"] if marks else wanted))


class Translator:
    """Turns the chunks of one run's `astream` into events.

    Args:
        requested: stream modes of the request.
        thread_id: shown in the checkpoints of `debug` events.
        subgraphs: whether the stream includes chunks of subgraphs. If not, and the mode `lifecycle` is requested, `needs_reports`
            is true: `lives` must then be called with all tasks.
        marks: whether a mark follows each root checkpoint. A reader that has the checkpoint can continue from its mark.
    """

    def __init__(
        self, requested: Iterable[str], thread_id: str, *, subgraphs: bool = False, marks: bool = False
    ) -> None:
        self._requested = frozenset(requested)
        self._marks = marks
        self.needs_reports = "lifecycle" in self._requested and not subgraphs
        self._lives: list[NamedEvent] = []
        self._subgraphs = Subgraphs(self._subgraph) if "lifecycle" in self._requested else None
        self._thread_id = thread_id
        self._messages: dict[str | None, BaseMessageChunk | None] = {}

    def events(self, namespace: tuple[str, ...], mode: str, chunk: Any) -> Iterator[NamedEvent]:
        """Yields the events of one chunk of a LangGraph stream mode in a namespace (`()` for the root)."""
        if mode == "tasks" and not self.needs_reports:
            yield from self.lives(namespace, chunk)
        if mode == "messages":
            if "messages-tuple" in self._requested:
                yield _named("messages", namespace), list(chunk), "messages-tuple"
            elif "messages" in self._requested:
                yield from self._accumulated(_named("messages", namespace), *chunk)
        elif mode in self._requested:
            shown = chunk
            if mode == "checkpoints":
                shown = _checkpoint(chunk)
            elif mode == "debug" and chunk["type"] == "checkpoint":
                shown = {**chunk, "payload": self._debug_checkpoint(chunk["payload"])}
            yield _named(mode, namespace), shown, mode
        if mode == "checkpoints" and self._marks and not namespace:
            yield chunk["config"]["configurable"]["checkpoint_id"], None, CHECKPOINT_MARK

    def lives(self, namespace: tuple[str, ...], task: dict[str, Any]) -> Iterator[NamedEvent]:
        """Yields the events of the mode `lifecycle` that follow from a task's begin or end."""
        if self._subgraphs is not None:
            self._subgraphs.task(namespace, task)
            yield from self._subgraph_events()

    def finish(self, error: BaseException | None) -> Iterator[NamedEvent]:
        """Yields the remaining events when the graph has ended, with or without an error."""
        if self._subgraphs is not None:
            self._subgraphs.finish(error)
            self._subgraphs = None
            yield from self._subgraph_events()

    def _subgraph(self, phase: Phase, subgraph: Subgraph, error: Any) -> None:
        data: dict[str, Any] = {"event": phase, "namespace": list(subgraph.namespace)}
        if subgraph.tool_call_id is not None:
            data["tool_call_id"] = subgraph.tool_call_id
        if phase == "failed":
            is_raised = isinstance(error, BaseException)
            data["error"] = error_payload(error) if is_raised else {"error": "Error", "message": text_of(error)}
        self._lives.append((_named("lifecycle", subgraph.namespace), data, "lifecycle"))

    def _subgraph_events(self) -> Iterator[NamedEvent]:
        lives, self._lives = self._lives, []
        yield from lives

    def _accumulated(self, mode: str, message: Any, metadata: Any) -> Iterator[NamedEvent]:
        """Yields events of the mode `messages`: each message as accumulated so far, announced once, whatever its graph."""
        if message.id not in self._messages:
            self._messages[message.id] = None
            yield "messages/metadata", {message.id: {"metadata": metadata}}, mode
        if isinstance(message, BaseMessageChunk):
            before = self._messages[message.id]
            now = message if before is None else before + message
            assert isinstance(now, BaseMessageChunk)
            self._messages[message.id] = now
            yield "messages/partial", [message_chunk_to_message(now)], mode
        else:
            yield "messages/complete", [message], mode

    def _debug_checkpoint(self, payload: dict[str, Any]) -> dict[str, Any]:
        payload = _checkpoint(payload)
        payload["checkpoint"] = self._checkpoint_of(payload["config"])
        payload["parent_checkpoint"] = self._checkpoint_of(payload["parent_config"])
        payload["tasks"] = [self._debug_task(task) for task in payload["tasks"]]
        return payload

    def _debug_task(self, task: dict[str, Any]) -> dict[str, Any]:
        """Returns a task whose inner graph is given as in states: under `checkpoint` instead of a config under `state`."""
        if not _is_config(task.get("state")):
            return task
        inner = {"thread_id": self._thread_id, "checkpoint_ns": task["state"]["configurable"].get("checkpoint_ns", "")}
        return {key: value for key, value in task.items() if key != "state"} | {"checkpoint": inner}

    def _checkpoint_of(self, config: dict[str, Any] | None) -> dict[str, Any] | None:
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


def mode_of_event(event: dict[str, Any]) -> str:
    """Returns the mode, with its namespace, of a LangChain event that was dispatched by a node or within one."""
    namespace: str = (event.get("metadata") or {}).get("langgraph_checkpoint_ns") or ""
    above, _, _ = namespace.rpartition("|")
    return f"events|{above}" if above else "events"


def _named(mode: str, namespace: tuple[str, ...]) -> str:
    return "|".join((mode, *namespace)) if namespace else mode


def _checkpoint(payload: dict[str, Any]) -> dict[str, Any]:
    """Returns a checkpoint payload without the internal config keys of LangGraph and Threadloom."""
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
