"""Executes one attempt of a run: calls the graph, turns its stream into events, and returns a result."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from langgraph.errors import UnknownInterruptError
from langgraph.pregel._io import map_command
from langgraph.types import Command

from threadloom import __version__
from threadloom.auth.run_users import RunUsers
from threadloom.checkpointer import FENCE, INPUT_LEFT, RUN_METADATA
from threadloom.checkpointer.deferred_puts import DeferredPuts
from threadloom.codec import to_json
from threadloom.engine.answers import Answers
from threadloom.engine.events import Emitter
from threadloom.engine.protocol_events import Channels
from threadloom.engine.result import Kind, Result
from threadloom.engine.run_config import USER, bare, noted
from threadloom.engine.snapshot import Snapshot, thread_state
from threadloom.engine.stream_modes import NamedEvent, Translator, langgraph_modes, mode_of_event
from threadloom.engine.turn import turn_start
from threadloom.error_payloads import error_payload
from threadloom.errors import LostLeaseError, StorageError, UnreadableRunError
from threadloom.graphs import read_state
from threadloom.graphs.commands import command_fields
from threadloom.graphs.registry import GraphRegistry
from threadloom.graphs.task_reports import with_reports
from threadloom.graphs.transformers import StreamPart, stream_parts
from threadloom.graphs.untracked import Untracked, untracked
from threadloom.large import dump_json
from threadloom.types import Run
from threadloom.usercode import is_cancelled_from_outside

log = logging.getLogger("threadloom.run")

Graph = Any
"""A compiled graph. LangGraph's own generic types require state types that a server does not know."""

_NULL_TASK = "00000000-0000-0000-0000-000000000000"


class Execution:
    """Executes one attempt of a run.

    Args:
        run: as claimed; every write carries its fence.
        graphs: the registry that the graph comes from.
        users: the users of the runs.
        emitter: takes the run's events.
        resumed: whether an earlier attempt has put checkpoints; this attempt then continues from those.
        timeout: seconds that the run may take.
        snapshot: whether the result includes the thread's state.
        last: whether no other attempt may follow.
    """

    def __init__(
        self,
        run: Run,
        *,
        graphs: GraphRegistry,
        users: RunUsers,
        emitter: Emitter,
        resumed: bool,
        timeout: float,
        snapshot: bool,
        last: bool = True,
    ) -> None:
        self._last = last
        self._run = run
        self._users = users
        self._graphs = graphs
        self._emitter = emitter
        self._resumed = resumed
        self._timeout = timeout
        self._wants_snapshot = snapshot
        self._kwargs = run.kwargs
        self._values: Any = None
        self._shown: tuple[Any, bytes] = None, b""
        """The values that were last encoded as JSON, and their JSON."""
        self._began = False
        self._interrupts: dict[str, Any] = {}
        self._output_channels: str | Sequence[str] = ()
        self._untracked: Untracked | None = None

    async def execute(self, cancelled: Callable[[], bool]) -> Result:
        """Runs the graph to its end and emits its events.

        Args:
            cancelled: returns whether the cancellation of this task was requested from outside.

        Raises:
            LostLeaseError: this attempt no longer holds the run.
            StorageError: the database failed, and another attempt may follow.
            asyncio.CancelledError: this task was cancelled because the server stops.
        """
        run = self._run
        self._emitter.emit("metadata", {"run_id": run.run_id, "attempt": run.attempt})
        if self._emitter.channels:
            self._emitter.emit_channel("lifecycle", (), {"event": "running", "graph_name": run.graph_id})
        config = self._config()
        error: BaseException | None = None
        kind: Kind = "success"
        snapshot = None
        left: DeferredPuts | None = None
        try:
            if run.unreadable:
                raise UnreadableRunError(run.unreadable)
            async with self._graphs.open(
                run.graph_id, config=config, access="threads.create_run", context=self._kwargs.get("context") or None
            ) as graph:
                try:
                    async with asyncio.timeout(self._timeout) as limit, self._storing(graph) as deferred_puts:
                        await self._stream(graph, config)
                        snapshot = await self._seen_state(graph) if self._wants_snapshot else None
                        if deferred_puts is not None and (snapshot is not None or not self._wants_snapshot):
                            deferred_puts.leave()
                            left = deferred_puts
                except BaseException as failure:
                    kind = self._kind_of(failure, cancelled())
                    error = None if kind == "cancelled" else failure
                    if isinstance(failure, TimeoutError) and limit.expired():
                        kind = "timeout"
                if self._wants_snapshot and (snapshot is None or kind != "success"):
                    snapshot = await thread_state(graph, bare(config))
        except BaseException as failure:
            kind = self._kind_of(failure, cancelled())
            error = None if kind == "cancelled" else failure
        if error is None:
            return Result(kind=kind, output_json=await self._output(), snapshot=snapshot, deferred_puts=left)
        return self._failed(kind, error, snapshot)

    def refused(self, failure: Exception) -> Result:
        """Returns the result of an attempt that succeeded, but whose puts were not stored. Raises as `execute`."""
        return self._failed(self._kind_of(failure, False), failure, None)

    def _kind_of(self, failure: BaseException, cancelled: bool) -> Kind:
        """Returns the kind of result for an exception. User code ran, so it may be any exception.

        Raises:
            BaseException: `failure`, if the graph did not cause it: another attempt holds the run now, or it is to be retried.
        """
        if isinstance(failure, asyncio.CancelledError):
            if cancelled:
                return "cancelled"
            if is_cancelled_from_outside():
                raise failure
        if isinstance(failure, LostLeaseError) or (isinstance(failure, StorageError) and not self._last):
            raise failure
        if isinstance(failure, GeneratorExit):
            raise failure  # the coroutine itself may be closing; its caller then ends the run
        return "error"

    def _failed(self, kind: Kind, error: BaseException, snapshot: Snapshot | None) -> Result:
        log.warning("run %s failed", self._run.run_id, exc_info=error)
        fault = error_payload(error)
        output = to_json({"__error__": fault})
        return Result(kind=kind, output_json=output, error=fault, snapshot=snapshot, refusal=_refusal(error))

    # --- calling the graph ---

    async def _stream(self, graph: Graph, config: dict[str, Any]) -> None:
        self._output_channels = graph.output_channels
        self._untracked = untracked(graph)
        if self._untracked is not None:
            config["configurable"][INPUT_LEFT] = self._untracked.of_input
        input_ = await self._input(graph, config)
        if isinstance(input_, _Nothing):
            state = await read_state.read_state(graph, bare(config))
            self._values = state.values
            return
        try:
            await self._stream_once(graph, input_, config)
        except Exception:
            if self._began or input_ is None or isinstance(input_, Command):
                raise
            if not await read_state.clear_refused(graph, config, self._run.run_id):
                raise
            await self._stream_once(graph, input_, config)
        if (self._kwargs.get("command") or {}).get("update") is not None:
            await self._apply_update(graph, bare(config))
        if self._values is None:  # the run stopped, or had nothing to do, before it emitted values
            self._values = (await read_state.read_state(graph, bare(config))).values

    async def _stream_once(self, graph: Graph, input_: Any, config: dict[str, Any]) -> None:
        translator = Translator(
            self._kwargs["stream_mode"],
            self._run.thread_id,
            subgraphs=bool(self._kwargs.get("subgraphs")),
            marks=self._emitter.replays,
        )
        graph.checkpointer.cache.forget_newest(self._run.thread_id)
        if self._emitter.channels:
            await self._stream_channels(graph, input_, config, translator)
        else:
            await self._stream_modes(graph, input_, config, translator)

    def _storing(self, graph: Graph) -> contextlib.AbstractAsyncContextManager[DeferredPuts | None]:
        """Returns a context in which the graph does not wait for each checkpoint, only the end of the block does; or an empty
        context.
        """
        waits = (self._kwargs.get("durability") or "async") != "async"
        return contextlib.nullcontext() if waits else graph.checkpointer.deferring(self._run.fence)

    async def _stream_modes(self, graph: Graph, input_: Any, config: dict[str, Any], translator: Translator) -> None:
        """Executes a classic run: emits events in the stream modes of the request."""
        if translator.needs_reports:
            config = with_reports(config, lambda namespace, task: self._emit(translator.lives(namespace, task)))
        try:
            async for namespace, mode, chunk in self._chunks(graph, input_, config):
                self._began = True
                if isinstance(chunk, dict) and "__interrupt__" in chunk:
                    await self._let_be_answered(graph)
                if mode == "values" and not namespace:
                    self._see(chunk)
                if self._untracked is not None and self._emitter.stored:
                    chunk = self._untracked.without(namespace, mode, chunk)
                if mode == "events":
                    self._emitter.emit("events", chunk, mode_of_event(chunk))
                elif mode == "values":  # between two supersteps, so nothing changes it meanwhile
                    for event in translator.events(namespace, mode, chunk):
                        encoded = await self._emitter.emit_large(*event)
                        if encoded is not None and event[1] is self._values:
                            self._shown = chunk, encoded
                else:
                    self._emit(translator.events(namespace, mode, chunk))
                if self._emitter.ahead:
                    await self._emitter.catch_up()
        except BaseException as error:
            self._emit(translator.finish(error))
            raise
        if translator.needs_reports:
            await asyncio.sleep(0)  # first processes the last reports of subgraphs
        self._emit(translator.finish(None))

    async def _let_be_answered(self, graph: Graph) -> None:
        """Waits until the questions that are about to be sent are stored, so that an immediate answer finds them."""
        await graph.checkpointer.puts_in_progress.ended(self._run.thread_id)

    def _emit(self, events: Iterable[NamedEvent]) -> None:
        for event in events:
            self._emitter.emit(*event)

    async def _stream_channels(self, graph: Graph, input_: Any, config: dict[str, Any], translator: Translator) -> None:
        """Executes a v2 run: emits all events on channels, and emits stream mode events for classic readers."""

        def seen(part: StreamPart) -> None:
            self._began = True
            if part.method == "values" and not part.namespace:
                self._values = part.data if self._untracked is None else self._untracked.of_root(part.data)
                self._interrupts |= {interrupt.id: interrupt for interrupt in part.interrupts}

        channels = Channels(self._emitter.emit_channel)
        parts = stream_parts(
            graph,
            input_,
            config,
            transformers=self._graphs.transformers(self._run.graph_id),
            seen=seen,
            **self._call(graph),
        )
        try:
            first = True
            async for part in parts:
                if first and part.method == "checkpoints" and not part.namespace:
                    first = False
                    channels.turn = await turn_start(graph.checkpointer, config, part.data)
                if part.interrupts:
                    await self._let_be_answered(graph)
                if self._untracked is not None:
                    part = part._replace(data=self._untracked.without(part.namespace, part.method, part.data))
                channels.take(part)
                if part.method != "messages":
                    self._emit(translator.events(part.namespace, part.method, part.data))
                if self._emitter.ahead:
                    await self._emitter.catch_up()
        except BaseException as error:
            channels.finish(error)
            raise
        channels.finish(None)

    async def _chunks(
        self, graph: Graph, input_: Any, config: dict[str, Any]
    ) -> AsyncIterator[tuple[tuple[str, ...], str, Any]]:
        kwargs = self._kwargs
        subgraphs = bool(kwargs.get("subgraphs"))
        call = {
            **self._call(graph),
            "stream_mode": langgraph_modes(kwargs["stream_mode"], subgraphs=subgraphs, marks=self._emitter.replays),
            "subgraphs": subgraphs,
        }
        if _narrow(graph):
            call["output_keys"] = graph.output_channels
        if "events" not in kwargs["stream_mode"]:
            if subgraphs:
                async for namespace, mode, chunk in graph.astream(input_, config, **call):
                    yield namespace, mode, chunk
            else:
                async for mode, chunk in graph.astream(input_, config, **call):
                    yield (), mode, chunk
            return
        async for event in graph.astream_events(input_, config, version="v2", **call):
            if event["event"] == "on_chain_stream" and event["run_id"] == self._run.run_id:
                # The graph's own stream is emitted in its modes, not again as events.
                namespace, mode, chunk = event["data"]["chunk"] if subgraphs else ((), *event["data"]["chunk"])
                yield namespace, mode, chunk
            else:
                yield (), "events", event

    def _call(self, graph: Graph) -> dict[str, Any]:
        kwargs = self._kwargs
        call: dict[str, Any] = {
            "interrupt_before": kwargs.get("interrupt_before") or None,
            "interrupt_after": kwargs.get("interrupt_after") or None,
            "durability": kwargs.get("durability") or "async",
        }
        context = kwargs.get("context") or {}
        if context or _is_made(graph.context_schema):
            call["context"] = _accepted(graph, context)
        return call

    async def _input(self, graph: Graph, config: dict[str, Any]) -> Any:
        """Returns the graph's input: the run's input, a command, or None to continue."""
        if self._resumed:
            return None
        command: Any = self._kwargs.get("command")
        given = {} if command is None else command_fields(command)
        # A complete LangGraph Command (RemoteGraph sends those) has null for fields that are not set.
        answers = "resume" in (command or {}) and (command["resume"] is not None or not (given and "graph" in command))
        if not answers:  # an answer begins a branch only when its question was found
            place, run = config["configurable"], self._run
            await graph.checkpointer.branching.begin(place, run_id=run.run_id, fence=run.fence)
        if command is None:
            return self._kwargs.get("input")
        if (update := given.get("update")) is not None:
            await read_state.check_update(graph, config, update.items() if isinstance(update, dict) else update)
        is_written = self._run.was_begun_before and await _is_written(graph, config, given)
        if is_written:
            given.clear()
        if answers:
            resolved = await Answers(self._run, graph, config, self._call(graph)).resolve(command["resume"])
            if resolved.questions and self._emitter.channels:
                self._emitter.emit_channel("input.answered", (), {"interrupt_ids": resolved.questions})
            if resolved.found:
                given["resume"] = resolved.resume
            elif not given:
                return None if resolved.asks or is_written else _Nothing()
        update = given.get("update")
        single_process = given.keys() == {"update"}
        if (
            single_process
            and update
            and len(dict(update)) == len(update)
            and await graph.checkpointer.aget_tuple(config) is None
        ):
            return dict(update)  # passed as the input: LangGraph would start the graph with it and apply it again
        if is_written and not given:
            return None
        return Command(**given) if given else _Nothing()

    async def _apply_update(self, graph: Graph, config: dict[str, Any]) -> None:
        """Applies an update on a finished thread as a superstep of its own. As a pending write it would make later runs fail
        (docs/contract/runs.md#interrupts-and-commands).
        """
        saved = await graph.checkpointer.aget_tuple(config)
        if saved and any(task_id == _NULL_TASK for task_id, _, _ in saved.pending_writes or ()):
            state = await graph.aget_state(config)
            if not state.next:
                await graph.aupdate_state(config, None, as_node="__end__")
                self._values = (await graph.aget_state(config)).values

    def _config(self) -> dict[str, Any]:
        """Returns the config that the graph is called with."""
        run = self._run
        given = self._kwargs["config"]
        configurable = dict(given["configurable"])
        configurable[FENCE] = run.fence
        configurable[RUN_METADATA] = noted({**(self._kwargs.get("context") or {}), **given.get("metadata", {})})
        configurable[USER] = self._users.of(run.run_id, configurable.get(USER))
        if self._resumed:
            for key in ("checkpoint_id", "checkpoint_map"):
                configurable.pop(key, None)
        metadata = {
            **given.get("metadata", {}),
            "run_id": run.run_id,
            "thread_id": run.thread_id,
            "graph_id": run.graph_id,
            "assistant_id": run.assistant_id,
            "run_attempt": run.attempt,
            "threadloom_version": __version__,
        }
        config: dict[str, Any] = {
            "configurable": configurable,
            "metadata": metadata,
            "run_id": uuid.UUID(run.run_id),
            "run_name": run.graph_id,
        }
        for key, value in given.items():
            config.setdefault(key, value)
        return config

    # --- the result ---

    async def _seen_state(self, graph: Graph) -> Snapshot | None:
        """Returns the thread's final state as the run's stream showed it, which saves a read. Returns None where the stream may
        not have shown all of it.
        """
        plain = (
            self._kwargs.get("command") is None
            and isinstance(self._values, dict)
            and not self._interrupts
            and not isinstance(graph.stream_channels_asis, str)
            and not _narrow(graph)
            and not graph.checkpointer.cache.may_continue(self._run.thread_id, graph.trigger_to_nodes)
        )
        if not plain:
            return None
        if self._shown[0] is not self._values:
            self._shown = self._values, await dump_json(self._values, to_json)
        return Snapshot(
            values_json=self._shown[1],
            interrupts_json=b"{}",
            has_next=False,
            checkpoint_id=graph.checkpointer.cache.newest_root(self._run.thread_id),
        )

    def _see(self, chunk: Any) -> None:
        """Records the newest values and questions of the root graph."""
        if self._untracked is not None:
            chunk = self._untracked.of_root(chunk)
        if isinstance(chunk, dict) and "__interrupt__" in chunk:
            for interrupt in chunk["__interrupt__"]:
                self._interrupts[interrupt.id] = interrupt
            rest = {key: value for key, value in chunk.items() if key != "__interrupt__"}
            if rest:
                self._values = rest
        else:
            self._values = chunk

    async def _output(self) -> bytes:
        """Returns the response of `wait`: the last values, limited to the output schema, with the open questions."""
        values = self._values if self._values is not None else {}
        if isinstance(values, dict) and not isinstance(self._output_channels, str):
            values = {key: value for key, value in values.items() if key in self._output_channels}
        if not self._interrupts:
            shown, shown_json = self._shown
            if shown is self._values and isinstance(shown, dict) and values.keys() == shown.keys():
                return shown_json
            return await dump_json(values, to_json)
        questions = {"__interrupt__": list(self._interrupts.values())}
        return to_json({**values, **questions} if isinstance(values, dict) else questions)


def _refusal(error: BaseException) -> dict[str, Any]:
    """Returns why an answer was refused, in the form that v2 clients read; empty for any other error."""
    if not isinstance(error, UnknownInterruptError):
        return {}
    ids = {"interrupt_ids": list(error.interrupt_ids), "pending_ids": list(error.pending_ids)}
    return {"reason": error.reason, **ids}


def _narrow(graph: Graph) -> bool:
    """Returns whether the graph's output schema omits some of its state. Streams then omit it, as the reference server's do."""
    shown, kept = graph.output_channels, graph.stream_channels_asis
    return not isinstance(shown, str) and not isinstance(kept, str) and set(shown) != set(kept)


class _Nothing:
    """Stands for a command that is empty."""


async def _is_written(graph: Graph, config: dict[str, Any], given: dict[str, Any]) -> bool:
    """Returns whether an earlier attempt has stored the command's writes. LangGraph stores them before it begins the superstep,
    and would apply them again as a further update.
    """
    wanted = [(channel, value) for _, channel, value in map_command(Command(**given))]
    if not wanted:
        return False
    saved = await graph.checkpointer.aget_tuple(config)
    found = [
        (channel, value) for task_id, channel, value in (saved and saved.pending_writes) or () if task_id == _NULL_TASK
    ]
    return to_json(found[-len(wanted) :]) == to_json(wanted)


def _is_made(schema: Any) -> bool:
    """Returns whether the schema constructs an object from a context. Then an empty context yields one with the defaults."""
    return isinstance(schema, type) and (hasattr(schema, "__dataclass_fields__") or hasattr(schema, "model_fields"))


def _accepted(graph: Graph, context: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys of a context that its schema accepts: a dataclass rejects others."""
    fields = getattr(graph.context_schema, "__dataclass_fields__", None)
    return context if fields is None else {key: value for key, value in context.items() if key in fields}
