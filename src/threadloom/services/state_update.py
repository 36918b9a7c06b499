"""Updates a thread's state as if a node had returned the values. Checkpoints and record are stored in one transaction.

See docs/contract/threads.md#state-update, docs/contract/threads.md#supersteps.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from langgraph.constants import END
from langgraph.types import Command, Send, StateUpdate
from msgspec import UNSET

from threadloom.clock import Clock
from threadloom.engine.snapshot import Snapshot, thread_state
from threadloom.engine.thread_record import show_state
from threadloom.errors import BadRequest, Conflict, NotFound, StaleRefsError, ThreadloomError
from threadloom.graphs.commands import command_fields
from threadloom.graphs.read_state import read_state, repaired
from threadloom.services import requests
from threadloom.services.permission import visible, visible_thread
from threadloom.services.requests import NodeUpdate, Superstep
from threadloom.services.responses import StateWrittenResponse
from threadloom.services.tags import with_checkpoint
from threadloom.services.thread_graph import Graph, ThreadGraphs, graph_of
from threadloom.services.threads import missing, taken
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.storage.lineage.draft import Draft
from threadloom.types import Caller, Thread
from threadloom.usercode import UserCodeExit, contained, text_of

COPY = "__copy__"
ATTEMPTS = 10
"""How often an update is repeated because a run changed the thread meanwhile, before the request fails."""

NAMED_RUNS = 10
"""The largest number of active runs that an error message names."""


class ThreadLocks(Protocol):
    """A lock for each thread."""

    def hold(self, thread_id: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Waits for the lock of the thread, then holds it until the block is left."""
        ...


class LocalLocks:
    """Locks of this process. An update of another process is detected by what it stored, and costs one more attempt."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def held(self) -> int:
        """Returns the number of threads whose lock is held or waited for."""
        return len(self._locks)

    @contextlib.asynccontextmanager
    async def hold(self, thread_id: str) -> AsyncIterator[None]:
        lock, waiting = self._locks.get(thread_id, (asyncio.Lock(), 0))
        self._locks[thread_id] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(thread_id)
            if waiting > 1:
                self._locks[thread_id] = (lock, waiting - 1)


class StateWriter:
    """Writes states."""

    def __init__(self, *, storage: Storage, clock: Clock, graphs: ThreadGraphs, locks: ThreadLocks) -> None:
        self._storage = storage
        self._clock = clock
        self._graphs = graphs
        self._locks = locks

    async def update(
        self,
        caller: Caller,
        thread_id: str,
        request: requests.StateUpdate,
        rule: Filter | None,
        origin: "Origin | None" = None,
    ) -> StateWrittenResponse:
        """Applies one update and returns the new checkpoint.

        Args:
            rule: the filter for the thread.
            origin: where the values come from, if from another thread.

        Raises:
            NotFound: the thread, its graph or the checkpoint does not exist.
            BadRequest: the thread has no graph, or the graph rejects the update.
            Conflict: runs are active on the thread, or it has one of the messages of `origin`.
        """
        values = None if request.values is UNSET else request.values
        as_node = None if request.as_node is UNSET else request.as_node
        if as_node == COPY and isinstance(values, list):
            values = _pairs(values)
        place = dict(request.checkpoint or {})
        if request.checkpoint_id and not place.get("checkpoint_id"):
            place["checkpoint_id"] = request.checkpoint_id
        steps = [[_one(values, as_node)]]
        _, config = await self._write(caller, thread_id, place, steps, rule, origin=origin)
        return _made(config, thread_id)

    async def supersteps(
        self, caller: Caller, thread: Thread, supersteps: Sequence[Superstep], new: bool, rule: Filter | None
    ) -> Thread:
        """Applies supersteps to a thread, in order, and stores them with the thread: all or nothing.

        Args:
            new: whether the thread's record is not stored yet.
            rule: the filter for the thread.

        Raises:
            As `update`; Conflict also if the new thread's id has been taken meanwhile.
        """
        steps = [[_node_update(update) for update in superstep.updates] for superstep in supersteps]
        stored, _ = await self._write(caller, thread.thread_id, {}, steps, rule, new=thread if new else None)
        return stored

    async def _write(
        self,
        caller: Caller,
        thread_id: str,
        place: Mapping[str, Any],
        steps: Sequence[Sequence[StateUpdate]],
        rule: Filter | None,
        *,
        new: Thread | None = None,
        origin: "Origin | None" = None,
    ) -> tuple[Thread, dict[str, Any]]:
        """Applies and stores updates. Returns the new record, and the config of the last new checkpoint."""
        async with self._locks.hold(thread_id):
            for _ in range(ATTEMPTS):
                thread = (
                    visible(new, rule)
                    if new
                    else await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule))
                )
                if thread is None:
                    raise missing(thread_id)
                work = await self._apply(caller, thread, place, steps, origin)
                commit = functools.partial(self._commit, thread=thread, work=work, rule=rule, new=new is not None)
                try:
                    stored = await self._storage.write(commit)
                except StaleRefsError:
                    continue  # a blob that it refers to was pruned meanwhile
                if stored is not None:
                    return stored, work.config
        raise Conflict(f"Thread with ID {thread_id} has in-flight runs: they change it while it is written to")

    async def _apply(
        self,
        caller: Caller,
        thread: Thread,
        place: Mapping[str, Any],
        steps: Sequence[Sequence[StateUpdate]],
        origin: "Origin | None",
    ) -> "_Work":
        """Applies the updates to a draft with the graph, and reads the resulting state."""
        graph_id = graph_of(thread)
        if graph_id is None:
            raise BadRequest(f"Thread with ID {thread.thread_id} has no assigned graph ID")
        await self._storage.read(lambda tx: no_active_runs(tx, thread.thread_id))
        place = await with_checkpoint(self._storage, thread.thread_id, place)
        addressed = {key: place[key] for key in ("checkpoint_ns", "checkpoint_id", "checkpoint_map") if place.get(key)}
        configurable: dict[str, Any] = {"thread_id": thread.thread_id, "graph_id": graph_id, "checkpoint_ns": ""}
        configurable |= addressed
        async with self._graphs.open(caller, thread, graph_id, "threads.update") as graph:
            branch_at = await graph.checkpointer.branching.point(configurable)
            noted = {"graph_id": graph_id, **addressed, **({} if origin is None else origin.metadata)}
            draft = Draft(self._storage, thread.thread_id, metadata=noted, branch_at=branch_at)
            drafted = graph.copy({"checkpointer": graph.checkpointer.over(draft)})
            try:
                with contained():
                    _check_destinations(drafted, steps)
                    await _find(drafted, configurable)
                    if origin is not None:
                        await _refuse_known(drafted, configurable, origin.message_ids)
                    config = await _updated(drafted, {"configurable": configurable}, steps)
                    newest = {"configurable": {"thread_id": thread.thread_id, "checkpoint_ns": ""}}
                    snapshot = await thread_state(drafted, newest)
            except UserCodeExit as error:
                raise BadRequest(text_of(error)) from error
            except ThreadloomError:
                raise
            except Exception as error:
                raise BadRequest(text_of(error) or type(error).__name__) from error
        return _Work(draft, config, snapshot)

    async def _commit(self, tx: Tx, *, thread: Thread, work: "_Work", rule: Filter | None, new: bool) -> Thread | None:
        """Stores the draft and updates the record. Returns None, and stores nothing, if the thread changed meanwhile."""
        thread_id = thread.thread_id
        if new:
            if not await tx.threads.insert(thread):
                raise taken(thread_id)
            current = thread
        else:
            found = await visible_thread(tx, thread_id, rule)
            if found is None:
                raise missing(thread_id)
            current = found
            await no_active_runs(tx, thread_id)
            if current.state_updated_at != thread.state_updated_at or not await work.draft.rooted(tx):
                return None
        await work.draft.store(tx)
        status = await show_state(tx, thread_id, work.snapshot, error=None)
        now = max(self._clock.now(), current.updated_at + 1, current.state_updated_at + 1)
        await tx.threads.update(thread_id, status=status, updated_at=now, state_updated_at=now)
        return await tx.threads.get(thread_id)


class Origin(NamedTuple):
    """Where the values of an update come from: the metadata for its checkpoint, and the ids of messages that the thread must not
    have yet.
    """

    metadata: Mapping[str, Any]
    message_ids: Collection[str]


class _Work:
    """An update that the graph has accepted: the draft, the config of its last checkpoint, and the resulting state of the
    thread.
    """

    def __init__(self, draft: Draft, config: dict[str, Any], snapshot: Snapshot) -> None:
        self.draft = draft
        self.config = config
        self.snapshot = snapshot


async def _updated(graph: Graph, config: dict[str, Any], steps: Sequence[Sequence[StateUpdate]]) -> dict[str, Any]:
    """Applies updates and returns the config of the last new checkpoint.

    An update is also possible if the graph cannot read the current state: this is the way to repair it.
    """
    try:
        made: dict[str, Any] = await graph.abulk_update_state(config, steps)
    except ThreadloomError:
        raise
    except Exception:
        usable = await repaired(graph, config)
        if usable is None:
            raise
        made = await usable[0].abulk_update_state(usable[1], steps)
    return made


async def no_active_runs(tx: Tx, thread_id: str) -> None:
    """Checks that no run of a thread is waiting or running.

    Raises:
        Conflict: names such runs.
    """
    active = await tx.runs.active(thread_id, limit=NAMED_RUNS)
    if active:
        ids = ", ".join(run.run_id for run in active)
        raise Conflict(f"Thread with ID {thread_id} has in-flight runs: {ids}")


def _check_destinations(graph: Graph, steps: Sequence[Sequence[StateUpdate]]) -> None:
    """Refuses commands with destinations that the graph does not have: LangGraph would ignore them without an error.

    Raises:
        BadRequest: with the name of the first such node.
    """
    commands: list[Any] = [update.values for step in steps for update in step if isinstance(update.values, Command)]
    for command in commands:
        for goto in command.goto if isinstance(command.goto, list) else [command.goto]:
            name = goto.node if isinstance(goto, Send) else goto
            if name and name != END and name not in graph.nodes:
                raise BadRequest(f"Node {name} does not exist")


async def _find(graph: Graph, configurable: Mapping[str, Any]) -> None:
    """Checks that the checkpoint to update exists.

    Raises:
        BadRequest: the graph has no such subgraph.
        NotFound: the thread has no such checkpoint.
    """
    namespace = str(configurable["checkpoint_ns"])
    if namespace:
        names = "|".join(part.split(":")[0] for part in namespace.split("|") if not part.isdigit())
        found = [name async for name, _ in graph.aget_subgraphs(namespace=names, recurse=True)]
        if not found:
            raise BadRequest(f"Subgraph {names} not found")
    checkpoint_id = configurable.get("checkpoint_id")
    if checkpoint_id:
        state = await read_state(graph, {"configurable": dict(configurable)})
        if state.metadata is None:
            raise NotFound(f"Checkpoint {checkpoint_id} not found")


async def _refuse_known(graph: Graph, configurable: Mapping[str, Any], message_ids: Collection[str]) -> None:
    """Checks that the state has no message with one of these ids: a reducer would replace it.

    Raises:
        Conflict: names the first such message.
    """
    state = await read_state(graph, {"configurable": dict(configurable)})
    for message in messages_of(state.values):
        if id_of(message) in message_ids:
            raise Conflict(f"Thread with ID {configurable['thread_id']} has a message {id_of(message)} already")


def messages_of(values: Any) -> list[Any]:
    """Returns the messages of a state: objects of LangChain, or objects of JSON."""
    messages = values.get("messages") if isinstance(values, Mapping) else None
    return messages if isinstance(messages, list) else []


def id_of(message: Any) -> str | None:
    """Returns the id of a message."""
    found = message.get("id") if isinstance(message, Mapping) else getattr(message, "id", None)
    return found if isinstance(found, str) else None


def _node_update(update: NodeUpdate) -> StateUpdate:
    if update.command is not UNSET and update.command:
        return _one(_command(update.command), update.as_node)
    return _one(None if update.values is UNSET else update.values, update.as_node)


def _one(values: Any, as_node: str | None) -> StateUpdate:
    """Converts an update to LangGraph's type. That type is stricter than what nodes may return."""
    return StateUpdate(values, as_node)


def _command(command: Mapping[str, Any]) -> Command[Any]:
    """Converts a command to LangGraph's type.

    Raises:
        BadRequest: it answers a question, which only a run can.
    """
    if "resume" in command:
        raise BadRequest("command.resume cannot be part of a superstep: no node is waiting for an answer")
    return Command(**command_fields(command))


def _pairs(values: list[Any]) -> list[Any]:
    """Returns the updates of a clone: `[values, node]` each.

    Raises:
        BadRequest: an item has another form.
    """
    for pair in values:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str)):
            raise BadRequest(f"values: {pair!r:.200} is no update of a clone; it takes [values, node] pairs")
    return values


def _made(config: Mapping[str, Any], thread_id: str) -> StateWrittenResponse:
    """Returns the response to an update: its checkpoint."""
    configurable = config["configurable"]
    place = {"thread_id": thread_id, "checkpoint_ns": configurable.get("checkpoint_ns", "")}
    place["checkpoint_id"] = configurable["checkpoint_id"]
    if configurable.get("checkpoint_map"):
        place["checkpoint_map"] = configurable["checkpoint_map"]
    return StateWrittenResponse(checkpoint=place, configurable=place, checkpoint_id=place["checkpoint_id"])
