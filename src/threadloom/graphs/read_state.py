"""Reads a thread's state through its graph, even if the graph refuses parts of it.

When LangGraph reads a state, it prepares the next tasks and applies the pending writes. This fails when a reducer refuses a
write, or the state's model a value: an invalid input, or a model that has changed. Then this module reads the state without the
refused parts, and sets the error on the tasks that wrote them.
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

from threadloom.checkpointer import AS_OF, SHARED, SHOWN, UNNAMED, as_of
from threadloom.error_payloads import error_payload
from threadloom.errors import ThreadloomError
from threadloom.usercode import UserCodeExit, contained

log = logging.getLogger("threadloom.graphs")

Graph = Any
"""A compiled graph. LangGraph's own generic types require state types that a server does not know."""

_NULL_TASK = "00000000-0000-0000-0000-000000000000"
_LENT_SAVER = "__pregel_checkpointer"
"""Key of `configurable`: the checkpointer that a graph uses instead of its own."""

_CONTROL = frozenset({ERROR, "__error_source_node__", "__interrupt__", RESUME})
"""Channels of pending writes that hold a task's status, not its output."""

_NO_CHANNEL = frozenset({"__no_writes__", "__return__", "__pregel_push"})


async def read_state(graph: Graph, config: Mapping[str, Any], *, subgraphs: bool = False) -> Any:
    """Returns the state that a config names, as `graph.aget_state` does.

    Raises:
        ThreadloomError: the storage failed. Errors of the graph are not raised.
    """
    if subgraphs and config["configurable"].get(SHOWN):
        # LangGraph passes the saver on to subgraphs, but not the key.
        saver = _ShowingSaver(config["configurable"].get(_LENT_SAVER) or graph.checkpointer, as_of(config))
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
    """Yields states, newest first, as `graph.aget_state_history` does. Raises as `read_state`.

    Args:
        before: a checkpoint's id: yields only older ones.
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
    """Returns a copy of the graph that skips what it refuses of the checkpoint that a config names, and the config to update that
    checkpoint with. Returns None when the graph refuses nothing, so that a failure has another cause. Raises as `read_state`.
    """
    reading = _LenientReading(graph, config)
    await reading.state()
    if not reading.refused:
        return None
    lent = {_LENT_SAVER: reading.graph.checkpointer}
    return reading.graph, {**config, "configurable": {**config["configurable"], **lent}}


async def clear_refused(graph: Graph, config: dict[str, Any], run_id: str) -> bool:
    """Puts a checkpoint without tasks after a checkpoint that no input can be applied to. Returns False, without a change, if the
    checkpoint is not such a one.

    LangGraph prepares the tasks of the old checkpoint before it drops them for a new input. So a state that its model refuses
    would make every later input fail.

    Args:
        config: the failed run's config; if it named the old checkpoint, it is changed to name the new one.
        run_id: the failed run. Checkpoints that it put itself are not repaired.
    """
    saved = await graph.checkpointer.aget_tuple(config)
    if saved is None or saved.metadata.get("run_id") == run_id:
        return False
    usable = await repaired(graph, config)
    if usable is None:
        return False
    # LangGraph takes an input at a checkpoint of the same run for a retry, and ignores it.
    update = {**usable[1], "configurable": {**usable[1]["configurable"], UNNAMED: True}}
    made = await usable[0].aupdate_state(update, None, as_node=END)
    if config["configurable"].get("checkpoint_id"):
        config["configurable"]["checkpoint_id"] = made["configurable"]["checkpoint_id"]
    log.warning("run %s begins after a checkpoint that its graph refuses", run_id)
    return True


async def check_update(graph: Graph, config: Mapping[str, Any], writes: Iterable[tuple[str, Any]]) -> None:
    """Checks that the thread's channels accept an update. LangGraph stores an update before it applies it, so a refused one would
    make every later run fail.

    Raises:
        Exception: the error of the channel that refuses it.
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
    """Reads one state and skips everything that the graph refuses.

    Attributes:
        target: the graph, or its subgraph that the config names.
        graph: a copy of it that skips what is refused; set by `state`.
        refused: whether anything is refused.
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
        """Returns the state. Raises ThreadloomError as `read_state`."""
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
        """Returns a node whose task is prepared even if its input cannot be created from the state."""
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
        """Returns the pending writes without those that channels refuse, and with an error for each task that wrote a refused
        one.
        """
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
            errors |= dict.fromkeys(kept, error)  # each write alone is accepted, but not all of them in one superstep
        self.refused = bool(errors)
        accepted = [write for write in pending if write[0] not in errors or write[1] in _CONTROL]
        has_error = {task_id for task_id, channel, _ in accepted if channel == ERROR} | {_NULL_TASK}
        accepted += [(task_id, ERROR, error) for task_id, error in errors.items() if task_id not in has_error]
        return accepted


class _OtherSaver(BaseCheckpointSaver[Any]):
    """A saver that delegates everything to another."""

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
    """A saver that returns each checkpoint in the form for display, as the thread was at a position."""

    def __init__(self, saver: BaseCheckpointSaver[Any], at: int) -> None:
        super().__init__(saver)
        self._at = at

    async def aget_tuple(self, config: Any) -> CheckpointTuple | None:
        shown: Any = {**config, "configurable": {**config["configurable"], SHOWN: True, AS_OF: self._at}}
        return await self._saver.aget_tuple(shown)


class _AmendedSaver(_OtherSaver):
    """A saver that returns other pending writes for one checkpoint than are stored.

    Attributes:
        of: the checkpoint's id.
        writes: the writes that are returned.
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
    """Returns the subgraph that a namespace names, or the graph itself if the subgraph is unknown."""
    names = "|".join(part.split(":")[0] for part in namespace.split("|") if not part.isdigit())
    found = [inner for _, inner in graph.get_subgraphs(namespace=names, recurse=True)] if names else []
    return found[0] if found and isinstance(found[0], Pregel) else graph


def _applied(channels: Mapping[str, BaseChannel[Any, Any, Any]], writes: Sequence[tuple[str, Any]]) -> Any:
    """Returns a copy of channels with writes applied. The given channels stay unchanged.

    Raises:
        Exception: the error of the channel that refuses its writes.
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
    """Returns a state as it is stored, if even its channels refuse it. Its tasks are unknown."""
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
