"""Reading a thread's state through its graph, whatever is stored.

LangGraph prepares the next tasks when it reads a state, and applies what was written since the checkpoint. Either fails when a
reducer refuses a write, or the state's model a value: an input that was refused, or a model that changed since. Then the state is
read without what is refused, and the tasks that it comes from carry the error.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from langgraph.channels.base import BaseChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.types import ERROR, RESUME
from langgraph.constants import END
from langgraph.pregel import Pregel
from langgraph.pregel._checkpoint import achannels_from_checkpoint
from langgraph.types import StateSnapshot

from threadloom.checkpointer import SHARED, SHOWN, UNNAMED
from threadloom.error_payloads import error_payload
from threadloom.errors import ThreadloomError
from threadloom.usercode import UserCodeExit, contained

log = logging.getLogger("threadloom.graphs")

Graph = Any
"""A compiled graph. Its own types ask for more than a server of anybody's graphs can know."""

_NULL_TASK = "00000000-0000-0000-0000-000000000000"
_LENT_SAVER = "__pregel_checkpointer"
"""Key of `configurable`: the checkpointer that a graph uses instead of its own."""

_CONTROL = frozenset({ERROR, "__error_source_node__", "__interrupt__", RESUME})
"""Channels of pending writes that say how a task fares, not what it wrote."""

_NO_CHANNEL = frozenset({"__no_writes__", "__return__", "__pregel_push"})


async def read_state(graph: Graph, config: Mapping[str, Any], *, subgraphs: bool = False) -> Any:
    """The state that a config addresses, as `graph.aget_state` gives it.

    Raises:
        ThreadloomError: the storage failed. What the graph raises never is.
    """
    if subgraphs and config["configurable"].get(SHOWN):
        # LangGraph hands the saver on to subgraphs, but not the key.
        saver = _ShowingSaver(config["configurable"].get(_LENT_SAVER) or graph.checkpointer)
        config = {**config, "configurable": {**config["configurable"], _LENT_SAVER: saver}}
    try:
        with contained():
            return await graph.aget_state(config, subgraphs=subgraphs)
    except Exception as error:
        if _is_ours(error):
            raise
        return await _read_leniently(graph, config, subgraphs, error)


async def read_history(
    graph: Graph,
    config: Mapping[str, Any],
    *,
    filter: dict[str, Any] | None,
    before: str | None,
    limit: int,
) -> AsyncIterator[Any]:
    """States, newest first, as `graph.aget_state_history` gives them. Raises as `read_state`.

    Args:
        before: a checkpoint's id: only older ones.
    """
    configurable = config["configurable"]
    target = _addressed(graph, configurable.get("checkpoint_ns") or "")
    # A node's input is made of a state by the state's class, whose own code may change what it is given.
    if configurable.get(SHOWN) and all(node.mapper is None for node in target.nodes.values()):
        config = {**config, "configurable": {**configurable, SHARED: True}}

    def bound() -> dict[str, Any] | None:
        return None if before is None else {"configurable": {**configurable, "checkpoint_id": before}}

    async with contextlib.aclosing(
        graph.aget_state_history(config, filter=filter, before=bound(), limit=limit)
    ) as states:
        while True:
            try:
                with contained():
                    snapshot = await anext(states)
            except StopAsyncIteration:
                return
            except Exception as error:
                if _is_ours(error):
                    raise
                break
            before = snapshot.config["configurable"]["checkpoint_id"]
            limit -= 1
            yield snapshot
    saver = graph.checkpointer
    async for saved in saver.alist(config, filter=filter, before=bound(), limit=limit):
        checkpoint_id = saved.config["configurable"]["checkpoint_id"]
        yield await read_state(graph, {"configurable": {**configurable, "checkpoint_id": checkpoint_id}})


async def repaired(graph: Graph, config: Mapping[str, Any]) -> tuple[Graph, dict[str, Any]] | None:
    """The graph that a config addresses, but passing over what it refuses of the checkpoint there, and the config to update
    that checkpoint with. None when it refuses nothing, so that a failure has another cause. Raises as `read_state`.
    """
    reading = _LenientReading(graph, config)
    await reading.state()
    if not reading.refused:
        return None
    lent = {_LENT_SAVER: reading.graph.checkpointer}
    return reading.graph, {**config, "configurable": {**config["configurable"], **lent}}


async def clear_refused(graph: Graph, config: dict[str, Any], run_id: str) -> bool:
    """Puts a checkpoint without tasks after one that no input can be applied to. False, with nothing done, if there is none.

    LangGraph prepares the tasks of the old checkpoint before it drops them for a new input, so a state that its model refuses
    would refuse every input that comes after it.

    Args:
        config: of the run that failed; names the new checkpoint afterwards if it named the old one.
        run_id: the run itself. What it has put is its own fault.
    """
    saved = await graph.checkpointer.aget_tuple(config)
    if saved is None or saved.metadata.get("run_id") == run_id:
        return False
    usable = await repaired(graph, config)
    if usable is None:
        return False
    # LangGraph takes an input at a checkpoint of the same run for a second try, and goes on without it.
    update = {**usable[1], "configurable": {**usable[1]["configurable"], UNNAMED: True}}
    made = await usable[0].aupdate_state(update, None, as_node=END)
    if config["configurable"].get("checkpoint_id"):
        config["configurable"]["checkpoint_id"] = made["configurable"]["checkpoint_id"]
    log.warning("run %s begins after a checkpoint that its graph refuses", run_id)
    return True


async def check_update(graph: Graph, config: Mapping[str, Any], writes: Iterable[tuple[str, Any]]) -> None:
    """Makes sure that the thread's channels take an update. LangGraph stores one before it applies it, so that one which is
    refused would make every later run fail.

    Raises:
        Exception: what a channel raises that refuses it.
    """
    saved = await graph.checkpointer.aget_tuple(config)
    if saved is not None:
        channels, _ = await achannels_from_checkpoint(
            graph.channels, saved.checkpoint, saver=graph.checkpointer, config=saved.config
        )
        _applied(channels, list(writes))


def _is_ours(error: Exception) -> bool:
    return isinstance(error, ThreadloomError) and not isinstance(error, UserCodeExit)


async def _read_leniently(graph: Graph, config: Mapping[str, Any], subgraphs: bool, error: Exception) -> Any:
    configurable = config["configurable"]
    log.warning(
        "the state of thread %s is shown without what its graph refuses (%s)",
        configurable["thread_id"],
        error_payload(error)["error"],
    )
    reading = _LenientReading(graph, config)
    snapshot = await reading.state()
    if not subgraphs:
        return snapshot
    inner = dict(reading.target.get_subgraphs())
    lent = {_LENT_SAVER: reading.saver}
    tasks = []
    for task in snapshot.tasks:
        if isinstance(task.state, dict) and task.name in inner:
            below = {"configurable": {**task.state["configurable"], **lent}}
            task = task._replace(state=await read_state(inner[task.name], below, subgraphs=True))
        tasks.append(task)
    return snapshot._replace(tasks=tuple(tasks))


class _LenientReading:
    """One reading of a state in which nothing that the graph refuses is in the way.

    Attributes:
        target: the graph, or its subgraph that the config addresses.
        graph: a copy of it that passes over what is refused; set by `state`.
        refused: whether anything is.
    """

    def __init__(self, graph: Graph, config: Mapping[str, Any]) -> None:
        configurable = dict(config["configurable"])
        self.saver: BaseCheckpointSaver[Any] = configurable.pop(_LENT_SAVER, None) or graph.checkpointer
        self.target: Graph = _addressed(graph, configurable.get("checkpoint_ns") or "")
        self.graph: Graph = None
        self.refused = False
        self._config = configurable
        self._unprepared: dict[str, BaseException] = {}

    async def state(self) -> Any:
        """The state. Raises ThreadloomError as `read_state`."""
        saved = await self.saver.aget_tuple({"configurable": self._config})
        amended = _AmendedSaver(self.saver)
        try:
            with contained():
                if saved is not None:
                    amended.writes = await self._accepted(saved)
                    amended.of = saved.config["configurable"]["checkpoint_id"]
                nodes = {name: self._lenient(name, node) for name, node in self.target.nodes.items()}
                self.graph = self.target.copy({"nodes": nodes, "checkpointer": amended})
                lent = {"configurable": {**self._config, _LENT_SAVER: amended}}
                snapshot = await self.graph.aget_state(lent)
        except Exception as error:
            if _is_ours(error) or saved is None:
                raise
            self.refused = True
            return _stored(self.target, saved)
        self.refused = self.refused or bool(self._unprepared)
        return snapshot._replace(tasks=tuple(self._with_error_payload(task) for task in snapshot.tasks))

    def _with_error_payload(self, task: Any) -> Any:
        error = self._unprepared.get(task.name)
        return task if error is None or task.error is not None else task._replace(error=error)

    def _lenient(self, name: str, node: Any) -> Any:
        """A node whose task is prepared even if its input cannot be made of the state."""
        if node.mapper is None:
            return node
        make: Callable[[Any], Any] = node.mapper

        def made(value: Any) -> Any:
            try:
                with contained():
                    return make(value)
            except Exception as error:
                self._unprepared[name] = error
                return value

        return node.copy({"mapper": made})

    async def _accepted(self, saved: CheckpointTuple) -> list[tuple[str, str, Any]]:
        """The pending writes without those that channels refuse, but with an error for each task that wrote such."""
        pending = list(saved.pending_writes or ())
        channels, _ = await achannels_from_checkpoint(
            self.target.channels, saved.checkpoint, saver=self.saver, config=saved.config
        )
        by_task: dict[str, list[tuple[str, Any]]] = {}
        for task_id, channel, value in pending:
            if channel not in _CONTROL and channel not in _NO_CHANNEL:
                by_task.setdefault(task_id, []).append((channel, value))
        errors: dict[str, BaseException] = {}
        null_writes = by_task.pop(_NULL_TASK, [])
        try:
            channels = _applied(channels, null_writes)
        except Exception as error:
            errors[_NULL_TASK] = error
        for task_id, writes in by_task.items():
            try:
                _applied(channels, writes)
            except Exception as error:
                errors[task_id] = error
        kept = {task_id: writes for task_id, writes in by_task.items() if task_id not in errors}
        try:
            _applied(channels, [write for writes in kept.values() for write in writes])
        except Exception as error:
            errors |= dict.fromkeys(kept, error)  # each could be, but not all of them in one step
        self.refused = bool(errors)
        accepted = [write for write in pending if write[0] not in errors or write[1] in _CONTROL]
        has_error = {task_id for task_id, channel, _ in accepted if channel == ERROR} | {_NULL_TASK}
        accepted += [(task_id, ERROR, error) for task_id, error in errors.items() if task_id not in has_error]
        return accepted


class _OtherSaver(BaseCheckpointSaver[Any]):
    """A saver that passes everything on to another."""

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver

    async def aget_tuple(self, config: Any) -> CheckpointTuple | None:
        return await self._saver.aget_tuple(config)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        return await self._saver.aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._saver.aput_writes(config, writes, task_id, task_path)

    async def aget_delta_channel_history(self, *, config: Any, channels: Sequence[str]) -> Any:
        return await self._saver.aget_delta_channel_history(config=config, channels=channels)

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._saver.get_next_version(current, channel)


class _ShowingSaver(_OtherSaver):
    """Gives each checkpoint as it is to be shown."""

    async def aget_tuple(self, config: Any) -> CheckpointTuple | None:
        shown: Any = {**config, "configurable": {**config["configurable"], SHOWN: True}}
        return await self._saver.aget_tuple(shown)


class _AmendedSaver(_OtherSaver):
    """Shows other pending writes of one checkpoint than are stored.

    Attributes:
        of: the checkpoint's id.
        writes: what is shown.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        super().__init__(saver)
        self.of = ""
        self.writes: list[tuple[str, str, Any]] = []

    async def aget_tuple(self, config: Any) -> CheckpointTuple | None:
        saved = await self._saver.aget_tuple(config)
        if saved is None or saved.config["configurable"]["checkpoint_id"] != self.of:
            return saved
        return saved._replace(pending_writes=self.writes)


def _addressed(graph: Graph, namespace: str) -> Graph:
    """The subgraph that a namespace names, or the graph itself if it names none that is known."""
    names = "|".join(part.split(":")[0] for part in namespace.split("|") if not part.isdigit())
    found = [inner for _, inner in graph.get_subgraphs(namespace=names, recurse=True)] if names else []
    return found[0] if found and isinstance(found[0], Pregel) else graph


def _applied(channels: Mapping[str, BaseChannel[Any, Any, Any]], writes: Sequence[tuple[str, Any]]) -> Any:
    """Channels after writes, of which the given ones know nothing.

    Raises:
        Exception: what a channel raises that refuses its writes.
    """
    by_channel: dict[str, list[Any]] = {}
    for name, value in writes:
        if name in channels:
            by_channel.setdefault(name, []).append(value)
    after = dict(channels)
    for name, values in by_channel.items():
        channel = channels[name].copy()
        with contained():
            channel.update(values)
        after[name] = channel
    return after


def _stored(graph: Graph, saved: CheckpointTuple) -> Any:
    """A state as it is stored, where even its channels refuse it: nothing is known of its tasks."""
    shown = graph.stream_channels_asis
    kept = saved.checkpoint["channel_values"]
    values = kept.get(shown) if isinstance(shown, str) else {name: kept[name] for name in shown if name in kept}
    return StateSnapshot(
        values=values,
        next=(),
        config=saved.config,
        metadata=saved.metadata,
        created_at=saved.checkpoint["ts"],
        parent_config=saved.parent_config,
        tasks=(),
        interrupts=(),
    )
