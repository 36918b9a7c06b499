"""Moves the head of a thread: to an earlier checkpoint, back, or to where a copy is. Nothing is deleted, no payload is read.

See docs/contract/repository.md#undo-and-move.
"""

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.engine.thread_record import show_state
from threadloom.errors import Conflict, Invalid, NotFound
from threadloom.services.copy_cuts import root_config
from threadloom.services.permission import known_thread, visible
from threadloom.services.requests import ThreadPromote, ThreadReset
from threadloom.services.state_update import no_active_runs
from threadloom.services.tags import checkpoint_named
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.services.threads import missing
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.storage.lineage import FormerHead, Moved
from threadloom.storage.lineage.draft import Draft
from threadloom.types import SYSTEM, Caller, Thread

log = logging.getLogger("threadloom.moves")

ATTEMPTS = 10
"""How often a move is repeated because the thread changed meanwhile, before the request fails."""

GRAPH_KEYS = ("graph_id", "assistant_id")
"""The metadata that tie a thread to the graph that its state is read with."""

Announce = Callable[[Caller, str], Awaitable[None]]
"""Tells the readers of a thread's stream that its state has changed."""


class MovedThread(msgspec.Struct, frozen=True):
    """A thread whose head was moved, and from where to where."""

    thread: Thread
    moved: Moved


class _Plan(msgspec.Struct, frozen=True):
    """Where a thread is to be moved.

    Attributes:
        thread: its record when the plan was made.
        head: the name under which the new state can be read.
        at: the root checkpoint to move to; None: all that `head` shows.
        former: the former head that shows the new state; None: the thread does.
    """

    thread: Thread
    head: str
    at: str | None = None
    former: FormerHead | None = None


class MoveService:
    """Moves the heads of threads. The record follows: values, interrupts, error and status.

    Args:
        guard: authorizes callers.
        announce: called after each move.
    """

    def __init__(
        self, *, storage: Storage, guard: Guard, clock: Clock, graphs: ThreadGraphs, announce: Announce
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._graphs = graphs
        self._announce = announce

    async def reset(self, caller: Caller, thread_id: str, request: ThreadReset) -> MovedThread:
        """Moves a thread to a root checkpoint, as if it were a copy at that checkpoint, or undoes its last move.

        Raises:
            NotFound: there is no such thread, tag or checkpoint.
            Conflict: runs of the thread are waiting or running, or there is no move to undo.
        """
        rule = await self._guard.ask(caller, "threads", "update", {"thread_id": thread_id})
        for _ in range(ATTEMPTS):
            plan = await self._storage.read(functools.partial(self._plan, thread_id, request, rule))
            snapshot = await self._state(caller, plan)
            commit = functools.partial(self._reset, plan, snapshot, rule)
            moved = await self._storage.write(commit, heavy=True)  # it may drop a former head with a long history
            if moved is not None:
                await self._tell(thread_id)
                return moved
        raise Conflict(f"Thread with ID {thread_id} changes while it is moved")

    async def promote(self, caller: Caller, thread_id: str, request: ThreadPromote) -> MovedThread:
        """Moves a thread to the newest state of another thread of its tree, with all pending writes. The other thread does not
        change.

        Raises:
            Invalid: both are the same thread.
            NotFound: there is no such thread, or none that the caller may read.
            Conflict: runs of either are waiting or running, they do not descend from one thread, or the other one has no state.
        """
        source_id = request.thread_id
        if source_id == thread_id:
            raise Invalid("thread_id: a thread cannot be promoted to itself")
        rule = await self._guard.ask(caller, "threads", "update", {"thread_id": thread_id})
        reading = await self._guard.ask(caller, "threads", "read", {"thread_id": source_id})
        commit = functools.partial(self._promote, thread_id, rule, source_id, reading)
        moved = await self._storage.write(commit, heavy=True)
        await self._tell(thread_id)
        return moved

    async def _tell(self, thread_id: str) -> None:
        """Tells the readers of the thread. They may read it, the caller may not; and the move is done, whether or not the state
        can be read.
        """
        try:
            await self._announce(SYSTEM, thread_id)
        except Exception:
            log.warning("readers of thread %s were not told that it was moved", thread_id, exc_info=True)

    async def _plan(self, thread_id: str, request: ThreadReset, rule: Filter | None, tx: Tx) -> _Plan:
        thread = await known_thread(tx, thread_id, rule)
        await no_active_runs(tx, thread_id)
        if request.checkpoint_id is UNSET:
            formers = await tx.lineage.former_heads(thread_id)
            if not formers:
                raise Conflict(f"Thread with ID {thread_id} has no move to undo")
            return _Plan(thread, formers[0].head, former=formers[0])
        at = await checkpoint_named(tx, thread_id, request.checkpoint_id)
        head = await tx.lineage.showing(thread_id, at)
        if head is None:
            raise NotFound(f"Checkpoint {at} not found")
        formers = [] if head == thread_id else await tx.lineage.former_heads(thread_id)
        return _Plan(thread, head, at, next((former for former in formers if former.head == head), None))

    async def _state(self, caller: Caller, plan: _Plan) -> Snapshot:
        """Reads the state that the thread is to have; at a checkpoint, the one before its tasks were executed."""
        record = {} if plan.former is None else plan.former.record
        graph_id = record.get("graph_id") or graph_of(plan.thread)
        if graph_id is None:
            return EMPTY
        cut = None
        if (at := plan.at) is not None:
            _, bound = await self._storage.read(lambda tx: tx.lineage.root_of_cut(plan.head, "", at))
            cut = (at, bound)
        try:
            async with self._graphs.open(caller, plan.thread, graph_id, "threads.update") as graph:
                before = Draft(self._storage, plan.head, cut=cut)
                bare = graph.copy({"checkpointer": graph.checkpointer.over(before)})
                return await thread_state(bare, root_config(plan.head))
        except Exception:
            log.warning("thread %s cannot be read through its graph", plan.thread.thread_id, exc_info=True)
            return EMPTY

    async def _reset(self, plan: _Plan, snapshot: Snapshot, rule: Filter | None, tx: Tx) -> MovedThread | None:
        """Moves the thread as planned. Returns None, and changes nothing, if the thread has changed since."""
        thread_id = plan.thread.thread_id
        thread = await known_thread(tx, thread_id, rule)
        await no_active_runs(tx, thread_id)
        if thread.state_updated_at != plan.thread.state_updated_at:
            return None
        now = max(self._clock.now(), thread.updated_at + 1, thread.state_updated_at + 1)
        if plan.at is not None:
            if await tx.lineage.showing(thread_id, plan.at) != plan.head:
                return None
            moved = await tx.lineage.reset(thread_id, plan.at, now=now, record=_shown(thread))
            error = None
        else:
            if plan.former not in (await tx.lineage.former_heads(thread_id))[:1]:
                return None
            former = await tx.lineage.undo(thread_id, now=now, record=_shown(thread))
            assert former is not None
            [left, *_] = await tx.lineage.former_heads(thread_id)
            moved = Moved(left.checkpoint_id, former.checkpoint_id)
            error = former.record.get("error")
        status = await show_state(tx, thread_id, snapshot, error=error)
        metadata = _with_graph(thread.metadata, {} if plan.former is None else plan.former.record)
        await tx.threads.update(thread_id, status=status, updated_at=now, state_updated_at=now, metadata=metadata)
        return await _moved(tx, thread_id, moved)

    async def _promote(
        self, thread_id: str, rule: Filter | None, source_id: str, reading: Filter | None, tx: Tx
    ) -> MovedThread:
        found = {}
        for one, its_rule in sorted([(thread_id, rule), (source_id, reading)], key=lambda pair: pair[0]):
            found[one] = visible(await tx.threads.get(one), its_rule)
        thread, source = found[thread_id], found[source_id]
        for one in (thread_id, source_id):
            if found[one] is None:
                raise missing(one)
            await no_active_runs(tx, one)
        assert thread is not None and source is not None
        if not await tx.threads.of_one_tree(thread_id, source_id):
            raise Conflict(f"Thread with ID {source_id} does not descend from the same thread as {thread_id}")
        now = max(self._clock.now(), thread.updated_at + 1, thread.state_updated_at + 1)
        try:
            moved = await tx.lineage.promote(thread_id, source_id, now=now, record=_shown(thread))
        except ValueError:
            raise Conflict(f"Thread with ID {source_id} has no state") from None
        await tx.threads.set_state(
            thread_id, values_json=source.values_json, interrupts_json=source.interrupts_json, error=source.error
        )
        await tx.threads.update(
            thread_id,
            status=source.status,
            updated_at=now,
            state_updated_at=now,
            metadata=_with_graph(thread.metadata, source.metadata),
        )
        return await _moved(tx, thread_id, moved)


def _shown(thread: Thread) -> dict[str, Any]:
    """Returns what an undo gives back, other than what is read from the state: error, graph and assistant."""
    graph = {key: thread.metadata[key] for key in GRAPH_KEYS if key in thread.metadata}
    return graph if thread.error is None else {**graph, "error": thread.error}


def _with_graph(metadata: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns a thread's metadata with the graph and assistant of another state; None if they are the same. A state without a
    graph changes nothing."""
    if "graph_id" not in source:
        return None
    others = {key: value for key, value in metadata.items() if key not in GRAPH_KEYS}
    merged = {**others, **{key: source[key] for key in GRAPH_KEYS if key in source}}
    return None if merged == metadata else merged


async def _moved(tx: Tx, thread_id: str, moved: Moved) -> MovedThread:
    thread = await tx.threads.get(thread_id)
    assert thread is not None
    return MovedThread(thread, moved)
