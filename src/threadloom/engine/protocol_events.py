"""Converts what a graph streams in a v2 run to events of the v2 event stream (docs/contract/protocols.md#events)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from threadloom.engine.subgraphs import Namespace, Phase, Subgraph, Subgraphs
from threadloom.error_payloads import error_payload
from threadloom.usercode import text_of


class ProtocolPart(Protocol):
    """A part of a graph's stream, as `graphs.transformers` yields it."""

    @property
    def method(self) -> str:
        """The channel or event name."""
        ...

    @property
    def namespace(self) -> Namespace:
        """Segments of the form `node:task`; empty for the root."""
        ...

    @property
    def data(self) -> Any:
        """The payload, any JSON value or message."""
        ...

    @property
    def interrupts(self) -> Sequence[Any]:
        """The interrupts that came with the values."""
        ...


Emit = Callable[[str, Sequence[str], Any, str | None], None]
"""Takes method, namespace, data and node of one event."""


class _Talk(msgspec.Struct):
    """A message that a model is still streaming."""

    namespace: Namespace
    node: str | None
    message_id: Any


class Channels:
    """Turns the parts of one run into events, in an order that clients can rely on: the `started` event of a subgraph comes
    before its other events, a checkpoint comes directly before its values, and a question comes after the values it was asked
    with.

    `turn` is the checkpoint at which the root graph's turn began. It is set before the first checkpoint is taken. None: unknown.

    Args:
        emit: takes the events.
    """

    def __init__(self, emit: Emit) -> None:
        self.turn: str | None = None
        self._emit = emit
        self._held: ProtocolPart | None = None
        self._early: dict[Namespace, list[ProtocolPart]] = {}
        self._subgraphs = Subgraphs(self._subgraph)
        self._talks: dict[str, _Talk] = {}
        self._questions: dict[str, tuple[Namespace, Any]] = {}
        self._asked: set[str] = set()

    def take(self, part: ProtocolPart) -> None:
        """Takes the next part."""
        held = self._held
        if part.method == "checkpoints" and held is not None and held.namespace == part.namespace:
            self._pass(part)
            self._release()
            return
        self._release()
        if part.method == "values" and not part.interrupts:
            # LangGraph streams the checkpoint right after the values; clients pair them in the other order.
            self._held = part
            return
        self._pass(part)

    def finish(self, error: BaseException | None) -> None:
        """Emits the remaining events when the graph has ended, with or without an error."""
        self._release()
        for namespace in list(self._early):
            self._start(namespace, {})
        self._ask()
        if error is not None:
            self._break_off(lambda talk: True, error)
        self._subgraphs.finish(error)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._pass(held)

    def _pass(self, part: ProtocolPart) -> None:
        """Emits a part of the root or of a subgraph that has started. Starts the subgraph first."""
        namespace = part.namespace
        if namespace and namespace not in self._subgraphs:
            if part.method in ("values", "checkpoints"):
                # These parts come just before the first task, which has the subgraph's name.
                self._early.setdefault(namespace, []).append(part)
                return
            self._start(namespace, part.data if part.method == "tasks" else {})
        self._say(part)

    # --- subgraphs ---

    def _start(self, namespace: Namespace, task: dict[str, Any]) -> None:
        self._subgraphs.start(namespace, task)
        for part in self._early.pop(namespace, ()):
            self._say(part)

    def _subgraph(self, phase: Phase, subgraph: Subgraph, error: Any) -> None:
        data: dict[str, Any] = {
            "event": phase,
            "namespace": list(subgraph.namespace),
            "graph_name": subgraph.graph_name,
        }
        if phase == "started":
            if subgraph.task_id:
                data["trigger_call_id"] = subgraph.task_id
            if subgraph.is_agent and subgraph.tool_call_id is not None:
                data["cause"] = {"type": "toolCall", "tool_call_id": subgraph.tool_call_id}
        if phase == "failed":
            data["error"] = error_payload(error)["message"] if isinstance(error, BaseException) else text_of(error)
        self._emit("lifecycle", subgraph.namespace, data, None)

    # --- one part ---

    def _say(self, part: ProtocolPart) -> None:
        namespace, data = part.namespace, part.data
        match part.method:
            case "values":
                self._emit("values", namespace, data, None)
                if part.interrupts:
                    self._note(namespace, part.interrupts)
                    self._ask()
            case "updates":
                self._updates(namespace, data)
            case "messages":
                self._message(namespace, *data)
            case "custom":
                self._emit("custom", namespace, _custom(data), None)
            case "checkpoints":
                described = _checkpoint(data)
                self._emit("checkpoints", namespace, described if namespace else _of_turn(described, self.turn), None)
            case "tasks":
                self._task(namespace, data)
            case "tools":
                self._emit("tools", namespace, data, None)
            case method if method.startswith("custom:"):
                name = method.removeprefix("custom:")
                self._emit("custom", namespace, {"name": name, "payload": data}, None)

    def _updates(self, namespace: Namespace, data: dict[str, Any]) -> None:
        for node, delta in data.items():
            if node == "__interrupt__":
                self._note(namespace, delta)
            elif node != "__metadata__":
                self._emit("updates", namespace, {"node": node, "values": delta}, node)

    def _task(self, namespace: Namespace, data: dict[str, Any]) -> None:
        # The metadata of a task holds the run's configuration, chosen request headers included.
        described = {key: value for key, value in data.items() if key != "metadata"}
        if isinstance(data.get("error"), BaseException):
            described["error"] = error_payload(data["error"])["message"]
        self._emit("tasks", namespace, described, None)
        error = data.get("error")
        if "result" in data and error is not None:
            self._break_off(lambda talk: talk.namespace == namespace and talk.node == data.get("name"), error)
        self._subgraphs.task(namespace, data)

    # --- questions ---

    def _note(self, namespace: Namespace, interrupts: Sequence[Any]) -> None:
        """Records questions. Every graph around the one that asked a question streams it again; the innermost comes first."""
        for interrupt in interrupts:
            if interrupt.id not in self._asked:
                self._questions.setdefault(interrupt.id, (namespace, interrupt.value))

    def _ask(self) -> None:
        for interrupt_id, (namespace, value) in self._questions.items():
            self._asked.add(interrupt_id)
            # The Python SDK reads `value`; the specification and the JS SDK read `payload`.
            data = {"interrupt_id": interrupt_id, "namespace": list(namespace), "payload": value, "value": value}
            self._emit("input.requested", namespace, data, None)
        self._questions.clear()

    # --- messages ---

    def _message(self, namespace: Namespace, payload: Any, metadata: dict[str, Any]) -> None:
        node = metadata.get("langgraph_node")
        if isinstance(payload, dict):
            self._of_model(str(metadata.get("run_id")), _Talk(namespace, node, payload.get("id")), payload)
        elif metadata.get("ls_model_type") == "chat":
            # From a model that was not streamed, or from the node itself. A message that a node only returns has no model type.
            for data in _whole(payload):
                self._emit("messages", namespace, data, node)

    def _of_model(self, run: str, new: _Talk, payload: dict[str, Any]) -> None:
        event = payload.get("event")
        if event == "message-start":
            if payload.get("role") == "tool":
                return
            self._talks[run] = new
        talk = self._talks.get(run)
        if talk is None:
            return
        crowded = sum(one.namespace == talk.namespace for one in self._talks.values()) > 1
        # When several messages stream at once, each event names its message.
        data = {**payload, "id": talk.message_id} if crowded and "id" not in payload else payload
        self._emit("messages", talk.namespace, data, talk.node)
        if event in ("message-finish", "error"):
            del self._talks[run]

    def _break_off(self, which: Callable[[_Talk], bool], error: Any) -> None:
        """Emits an error event for each unfinished message."""
        message = error_payload(error)["message"] if isinstance(error, BaseException) else text_of(error)
        for run, talk in list(self._talks.items()):
            if which(talk):
                self._of_model(run, talk, {"event": "error", "message": message or "The run was stopped"})


def _custom(data: Any) -> Any:
    """Returns the payload of a custom event: the node's value itself if it has `payload` or a text `name`, else the value
    wrapped.
    """
    ready = isinstance(data, dict) and ("payload" in data or isinstance(data.get("name"), str))
    return data if ready else {"payload": data}


def _checkpoint(data: dict[str, Any]) -> dict[str, Any]:
    metadata = data.get("metadata") or {}
    described = {
        "id": data["config"]["configurable"].get("checkpoint_id"),
        "step": metadata.get("step"),
        "source": metadata.get("source"),
    }
    parent = ((data.get("parent_config") or {}).get("configurable") or {}).get("checkpoint_id")
    return {**described, "parent_id": parent} if parent else described


def _of_turn(checkpoint: dict[str, Any], turn: str | None) -> dict[str, Any]:
    """Returns a checkpoint of the root graph in the form with which clients edit messages at the right place.

    Clients store `parent_id` with the messages of the values that follow, as the checkpoint to fork at. So it is the checkpoint
    at which the turn began. Clients ignore values whose `step` is lower than one they have had; on a fork a lower step is valid,
    so the step has another name here. See docs/decisions/0016-where-react-clients-fork.md.
    """
    described = {"id": checkpoint["id"], "source": checkpoint["source"], "superstep": checkpoint["step"]}
    parent = checkpoint.get("parent_id")
    if parent:
        described["previous_id"] = parent
    begun = parent if turn == checkpoint["id"] else turn
    return {**described, "parent_id": begun} if begun else described


def _whole(message: Any) -> Iterator[dict[str, Any]]:
    """Yields the events of a message that is already complete."""
    yield {"event": "message-start", "role": "ai", "id": message.id}
    for index, block in enumerate(message.content_blocks):
        if block.get("type") == "text":
            yield {"event": "content-block-start", "index": index, "content": {"type": "text", "text": ""}}
            delta = {"type": "text-delta", "text": block["text"]}
            yield {"event": "content-block-delta", "index": index, "delta": delta}
        else:
            yield {"event": "content-block-start", "index": index, "content": block}
        yield {"event": "content-block-finish", "index": index, "content": block}
    usage = getattr(message, "usage_metadata", None)
    yield {"event": "message-finish", "usage": usage} if usage else {"event": "message-finish"}
