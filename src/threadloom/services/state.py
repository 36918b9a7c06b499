"""Reads states through the thread's graph: one state, or the history.

See docs/contract/threads.md#state, docs/contract/threads.md#history.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.broker.base import Broker
from threadloom.checkpointer import AS_OF
from threadloom.codec import EncodedMessages, contains, to_json
from threadloom.engine.events import EventIds
from threadloom.engine.snapshot import interrupt_fields, shown
from threadloom.graphs.read_state import read_history, read_state
from threadloom.large import aside
from threadloom.services.permission import and_, visible_thread
from threadloom.services.requests import HistoryQuery, StateUpdate
from threadloom.services.responses import StateWrittenResponse, TaskResponse, ThreadStateResponse
from threadloom.services.state_update import Origin, StateWriter
from threadloom.services.tags import with_checkpoint
from threadloom.services.thread_graph import Graph, ThreadGraphs, graph_of
from threadloom.services.threads import missing
from threadloom.storage.base import Storage
from threadloom.types import Caller, Event, Thread
from threadloom.usercode import repr_of

CHECKPOINT_FIELDS = ("checkpoint_ns", "checkpoint_id", "checkpoint_map")
"""The fields that identify a checkpoint of a thread, in this order."""

PAGE = 100
"""The largest number of states that is read at once, so that a long history is never in memory as a whole."""

LONGEST_STRETCH = 0.005
"""Seconds after which the preparation of a history's states, which does not await, lets other tasks run."""


class StateService:
    """Reads states. `state_update` writes them.

    Args:
        guard: authorizes callers.
        tell_thread: whether `checkpoint` and `parent_checkpoint` have the thread's id (setting `checkpoint_thread_id`).
    """

    def __init__(
        self,
        *,
        storage: Storage,
        guard: Guard,
        broker: Broker,
        numbers: EventIds,
        graphs: ThreadGraphs,
        writer: StateWriter,
        tell_thread: bool = True,
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._broker = broker
        self._numbers = numbers
        self._graphs = graphs
        self._writer = writer
        self._tell_thread = tell_thread

    async def get(
        self,
        caller: Caller,
        thread_id: str,
        *,
        checkpoint: Mapping[str, Any] | None = None,
        subgraphs: bool = False,
        select: list[str] | None = None,
    ) -> dict[str, Any]:
        """Returns the state at a checkpoint (`{}` or None: the latest), ready for `codec.to_json`.

        Raises:
            NotFound: the thread, its graph, or the tag that names the checkpoint does not exist.
        """
        thread = await self._thread(caller, thread_id)
        place = await with_checkpoint(self._storage, thread_id, _checkpoint_fields(checkpoint))
        graph_id = graph_of(thread)
        if graph_id is None:
            return selected(_empty(), select)
        config: dict[str, Any] = {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **place}}
        async with self._graphs.open(caller, thread, graph_id, "threads.read") as graph:
            if subgraphs:
                config["configurable"][AS_OF] = await graph.checkpointer.branching.end_of_step(config["configurable"])
            snapshot = await read_state(graph, shown(config), subgraphs=subgraphs)
            state = self._shown(snapshot, thread_id, self._tell_thread)
        if snapshot.metadata is None and not any(place.values()):
            state = _empty()
        return selected(state, select)

    async def history(
        self, caller: Caller, thread_id: str, query: HistoryQuery, *, tell_thread: bool = True
    ) -> list[dict[str, Any]]:
        """Returns states, newest first, of all branches, ready for `codec.to_json`.

        Args:
            tell_thread: False leaves the thread's id out of checkpoints, whatever the setting says.

        Raises:
            NotFound: the thread, or its graph, does not exist.
        """
        thread = await self._thread(caller, thread_id)
        graph_id = graph_of(thread)
        wanted = dict(query.metadata)
        # Checkpoints do not store the thread's id: it is compared here, and added to the response.
        named = wanted.pop("thread_id", UNSET)
        if graph_id is None or query.limit < 1 or (named is not UNSET and not contains(thread_id, named)):
            return []
        place = await with_checkpoint(self._storage, thread_id, _checkpoint_fields(query.checkpoint))
        config = {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **place}}
        select = query.select if isinstance(query.select, list) else None
        messages = EncodedMessages()
        states: list[dict[str, Any]] = []
        async with self._graphs.open(caller, thread, graph_id, "threads.read") as graph:
            before = None if query.before is UNSET else str(query.before)
            before = (await with_checkpoint(self._storage, thread_id, {"checkpoint_id": before}))["checkpoint_id"]
            async for snapshot in _pages(graph, config, wanted, before, query.limit):
                state = self._shown(snapshot, thread_id, tell_thread and self._tell_thread)
                if named is UNSET or "thread_id" in state["metadata"]:
                    state = selected(state, select)
                    if (values := state.get("values")) is not None:
                        many = messages.are_many(values)
                        state["values"] = await aside(messages.of, values) if many else messages.of(values)
                    states.append(state)
                if len(states) == query.limit:
                    break
        return states

    async def update(
        self, caller: Caller, thread_id: str, request: StateUpdate, origin: Origin | None = None
    ) -> StateWrittenResponse:
        """Updates the state, and publishes it to the readers of the thread. Returns the new checkpoint. See
        `StateWriter.update`.
        """
        rule = and_(
            await self._guard.ask(caller, "threads", "update", {"thread_id": thread_id}),
            await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id}),
        )
        made = await self._writer.update(caller, thread_id, request, rule, origin)
        await self.announce(caller, thread_id)
        return made

    async def announce(self, caller: Caller, thread_id: str) -> None:
        """Publishes the state of a thread to the readers of its stream, after it has changed without a run."""
        if self._broker.watched(thread_id):
            ms, n = self._numbers.next()
            data = to_json({"thread_id": thread_id, "state": await self.get(caller, thread_id)})
            news = Event(
                thread_id=thread_id, run_id="", name="state_update", mode="state_update", data=data, ms=ms, n=n
            )
            self._broker.publish([news])

    async def _thread(self, caller: Caller, thread_id: str) -> Thread:
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        thread = await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule))
        if thread is None:
            raise missing(thread_id)
        return thread

    def _shown(self, snapshot: Any, thread_id: str, tell_thread: bool) -> dict[str, Any]:
        """Converts a state to a response."""
        checkpoint = _checkpoint(snapshot.config, thread_id, tell_thread)
        parent = _checkpoint(snapshot.parent_config, thread_id, tell_thread)
        tasks = [self._task(task, thread_id, tell_thread) for task in snapshot.tasks]
        state = ThreadStateResponse(
            values=snapshot.values,
            next=list(snapshot.next),
            tasks=tasks,
            metadata=_metadata(snapshot.metadata, thread_id),
            created_at=snapshot.created_at,
            checkpoint=checkpoint,
            parent_checkpoint=parent,
            interrupts=[interrupt_fields(interrupt) for interrupt in snapshot.interrupts],
            checkpoint_id=(checkpoint or {}).get("checkpoint_id"),
            parent_checkpoint_id=(parent or {}).get("checkpoint_id"),
        ).fields()
        # Converting structs during encoding costs twice as much. And the parts of a struct do not count in `large.is_heavy`.
        state["tasks"] = [task.fields() for task in tasks]
        return state

    def _task(self, task: Any, thread_id: str, tell_thread: bool) -> TaskResponse:
        inner = task.state
        whole = inner is not None and not isinstance(inner, dict)
        error = task.error
        return TaskResponse(
            id=task.id,
            name=task.name,
            path=list(task.path),
            error=error if error is None or isinstance(error, str) else repr_of(error),
            interrupts=[interrupt_fields(interrupt) for interrupt in task.interrupts],
            checkpoint=None if whole else _checkpoint(inner, thread_id, tell_thread),
            state=self._shown(inner, thread_id, tell_thread) if whole else None,
            result=task.result,
        )


def _checkpoint(config: Mapping[str, Any] | None, thread_id: str, tell_thread: bool) -> dict[str, Any] | None:
    """Returns the fields that identify a checkpoint. The thread id is that of the thread read, even if another thread wrote the
    checkpoint.
    """
    if config is None:
        return None
    configurable = config["configurable"]
    place = {"thread_id": thread_id} if tell_thread else {}
    for key in CHECKPOINT_FIELDS:
        if (value := configurable.get(key)) is not None:
            place[key] = value
    return place


def selected(state: dict[str, Any], select: list[str] | None) -> dict[str, Any]:
    """Returns the selected keys of a state; None means all. `values.<key>` is one key of the values."""
    if select is None:
        return state
    chosen = {name: state[name] for name in select if name in state}
    keys = [name.removeprefix("values.") for name in select if name.startswith("values.")]
    if keys and "values" not in chosen:
        values = state["values"]
        chosen["values"] = {key: values[key] for key in keys if key in values} if isinstance(values, Mapping) else {}
    return chosen


async def _pages(
    graph: Graph, config: dict[str, Any], wanted: dict[str, Any], before: str | None, limit: int
) -> AsyncIterator[Any]:
    """Yields the history, read in pages. The first page has at most `limit` states: a reader that stops there has read no
    more.
    """
    page = min(limit, PAGE)
    time = asyncio.get_running_loop().time
    resumed_at = time()
    while True:
        found = 0
        async for snapshot in read_history(graph, shown(config), filter=wanted or None, before=before, limit=page):
            yield snapshot
            found += 1
            before = snapshot.config["configurable"]["checkpoint_id"]
            if time() - resumed_at > LONGEST_STRETCH:
                await asyncio.sleep(0)
                resumed_at = time()
        if found < page or "checkpoint_id" in config["configurable"]:
            return


def _checkpoint_fields(checkpoint: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns the fields of the checkpoint that a client names. Its `thread_id` is ignored, `""` is the latest."""
    named = checkpoint or {}
    return {key: named[key] for key in ("checkpoint_ns", "checkpoint_id") if named.get(key)}


def _metadata(metadata: Mapping[str, Any] | None, thread_id: str) -> dict[str, Any] | None:
    """Returns the metadata of a checkpoint. Those of runs and updates (not of plain clones) have the thread's id."""
    if metadata is None:
        return None
    return {**metadata, "thread_id": thread_id} if "graph_id" in metadata else dict(metadata)


def _empty() -> dict[str, Any]:
    """Returns the state of a thread that has no checkpoint yet."""
    return ThreadStateResponse(
        values={},
        next=[],
        tasks=[],
        metadata=None,
        created_at=None,
        checkpoint=None,
        parent_checkpoint=None,
        interrupts=[],
        checkpoint_id=None,
        parent_checkpoint_id=None,
    ).fields()
