"""Copying threads: one transaction, whatever the length of the history. No payload is read.

See docs/contract/threads.md#copying.
"""

import functools
import logging
from typing import Any

import msgspec
from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.engine.states import thread_status
from threadloom.errors import Conflict, NotFound
from threadloom.ids import new_id
from threadloom.services.permission import metadata_left, thread_seen
from threadloom.services.records import users_metadata
from threadloom.services.requests import ThreadCopy
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.services.thread_status import show_state
from threadloom.services.threads import may_read, new_ttl, taken
from threadloom.storage.base import Storage, Tx
from threadloom.storage.draft import Draft
from threadloom.storage.filters import Filter, permits
from threadloom.types import Caller, ForkedFrom, Thread

log = logging.getLogger("threadloom.copying")


ATTEMPTS = 10
"""How often the handlers are asked anew because the source's metadata changed meanwhile, before the caller is told."""


class CopyService:
    """Copies threads: the copy has the same history and lives apart from then on.

    Whoever copies must be able to read the source and to make the copy, of which a handler may change the metadata.
    """

    def __init__(self, *, storage: Storage, guard: Guard, clock: Clock, graphs: ThreadGraphs) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._graphs = graphs

    async def copy(self, caller: Caller, thread_id: str, request: ThreadCopy) -> Thread:
        """Makes a copy, or gives back the thread that has its id when `if_exists` is `do_nothing`.

        Raises:
            Conflict: there is no such thread that the caller may read, or the id of the copy is taken, or the copy would not
                be one that the caller may make.
            NotFound: the thread has no such checkpoint.
        """
        target = request.thread_id if request.thread_id is not UNSET else new_id()
        at = request.checkpoint_id or None if request.checkpoint_id is not UNSET else None
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        for _ in range(ATTEMPTS):
            granted = (
                await self._granted(caller, thread_id, target, rule, request) if self._guard.asks(caller) else None
            )
            if request.thread_id is not UNSET:
                existing = await self._storage.read(lambda tx: tx.threads.get(target))
                if existing is not None:
                    return await self._existing(caller, existing, request, granted)
            shown = await self._state_at(caller, thread_id, at, rule) if at else None
            work = functools.partial(self._copy, thread_id, target, at, request, rule, granted, shown)
            done = await self._storage.write(work)
            if isinstance(done, Thread):
                return await self._existing(caller, done, request, granted)
            if done is not None:
                return await self._settle(caller, done.thread) if done.unsettled else done.thread
        raise Conflict("Conflict")

    async def _granted(
        self, caller: Caller, thread_id: str, target: str, rule: Filter | None, request: ThreadCopy
    ) -> "_Granted":
        """What the handler of `threads.create` makes of the copy.

        Raises:
            Conflict: there is no such thread that the caller may read.
        """
        source = await self._storage.read(lambda tx: thread_seen(tx, thread_id, rule))
        if source is None:
            raise Conflict("Conflict")
        value = {"thread_id": target, "metadata": _metadata(source, request)}
        made = await self._guard.ask(caller, "threads", "create", value)
        return _Granted(source.metadata, metadata_left(caller, value), made)

    async def _existing(
        self, caller: Caller, existing: Thread, request: ThreadCopy, granted: "_Granted | None"
    ) -> Thread:
        """The thread that has the copy's id, if it may be given back.

        Raises:
            Conflict: it may not.
        """
        made = granted.rule if granted is not None else None
        if request.if_exists != "do_nothing" or not permits(made, existing.metadata):
            raise taken(existing.thread_id)
        if not await may_read(self._guard, caller, existing):
            raise taken(existing.thread_id)
        return existing

    async def _copy(
        self,
        thread_id: str,
        target: str,
        at: str | None,
        request: ThreadCopy,
        rule: Filter | None,
        granted: "_Granted | None",
        shown: Snapshot | None,
        tx: Tx,
    ) -> "Thread | _Copied | None":
        """Copies; gives a thread when one has the id, and None when what was granted holds no longer."""
        existing = await tx.threads.get(target)
        if existing is not None:
            return existing
        source = await thread_seen(tx, thread_id, rule)
        if source is None:
            raise Conflict("Conflict")
        if granted is not None and granted.source != source.metadata:
            return None
        try:
            newest = await tx.lineage.copy(thread_id, target, at=at)
        except KeyError:
            raise _no_checkpoint(at) from None
        thread = self._record(source, target, newest, shown)
        thread.metadata = _metadata(source, request) if granted is None else granted.metadata
        if granted is not None and not permits(granted.rule, thread.metadata):
            raise Conflict("Conflict")
        await tx.threads.insert(thread)
        if shown is None:
            await tx.threads.share_state(thread_id, target)
        made = await tx.threads.get(target)
        assert made is not None
        return _Copied(made, shown is None and source.status == "busy")

    def _record(self, source: Thread, target: str, newest: str | None, shown: Snapshot | None) -> Thread:
        """The record of the copy. `shown` is what a copy at a checkpoint shows; otherwise it shows what the source does."""
        now = max(self._clock.now(), source.created_at + 1)
        thread = Thread(
            thread_id=target,
            created_at=now,
            updated_at=now,
            state_updated_at=now,
            metadata={},
            config=source.config,
            ttl=source.ttl and new_ttl(source.ttl.minutes, source.ttl.strategy, now),
            forked_from=ForkedFrom(thread_id=source.thread_id, checkpoint_id=newest, at=now),
        )
        if shown is not None:
            thread.status = thread_status(active=0, has_next=shown.has_next)
            thread.values_json, thread.interrupts_json = shown.values_json, shown.interrupts_json
            return thread
        thread.error = source.error if source.status != "busy" else None
        thread.status = source.status
        if source.status == "busy":
            # A checkpoint under a run nearly always has tasks to do; `_settle` looks, and shows its values.
            thread.status = thread_status(active=0, has_next=newest is not None)
        return thread

    async def _settle(self, caller: Caller, thread: Thread) -> Thread:
        """Lets the copy of a busy thread show its own newest state: the source's record shows the one before the run."""
        graph_id = graph_of(thread)
        snapshot = EMPTY
        if graph_id is not None:
            try:
                async with self._graphs.open(caller, thread, graph_id, "threads.read") as graph:
                    snapshot = await thread_state(graph, _config(thread.thread_id))
            except Exception:
                log.warning("the state of copy %s cannot be read through its graph", thread.thread_id, exc_info=True)
                return thread

        async def work(tx: Tx) -> Thread | None:
            now = await tx.threads.get(thread.thread_id, with_state=False)
            if now is not None and now.updated_at == thread.updated_at:
                status = await show_state(tx, thread.thread_id, snapshot, error=None)
                await tx.threads.update(thread.thread_id, status=status)
                return await tx.threads.get(thread.thread_id)
            return None

        return await self._storage.write(work) or thread

    async def _state_at(self, caller: Caller, thread_id: str, at: str, rule: Filter | None) -> Snapshot:
        """What a thread showed at one of its checkpoints, before the tasks of that checkpoint had run.

        Raises:
            Conflict: there is no such thread.
            NotFound: it has no such checkpoint.
        """
        thread = await self._storage.read(lambda tx: thread_seen(tx, thread_id, rule))
        if thread is None:
            raise Conflict("Conflict")
        if await self._storage.read(lambda tx: tx.lineage.get(thread_id, "", at)) is None:
            raise _no_checkpoint(at)
        graph_id = graph_of(thread)
        if graph_id is None:
            return EMPTY
        try:
            async with self._graphs.open(caller, thread, graph_id, "threads.read") as graph:
                before = Draft(self._storage, thread_id, bare=at)
                bare = graph.copy({"checkpointer": graph.checkpointer.over(before)})
                return await thread_state(bare, _config(thread_id, at))
        except Exception:
            log.warning("thread %s cannot be read through its graph", thread_id, exc_info=True)
            return EMPTY


class _Granted(msgspec.Struct, frozen=True):
    """What a copy may be: the source's metadata as the handler saw it, what it left of them, what the copy must fit."""

    source: dict[str, Any]
    metadata: dict[str, Any]
    rule: Filter | None


class _Copied(msgspec.Struct, frozen=True):
    """A copy, and whether what it shows is still to be read from its newest checkpoint."""

    thread: Thread
    unsettled: bool


def _metadata(source: Thread, request: ThreadCopy) -> dict[str, Any]:
    """The metadata of a copy: the source's, under what the caller gives it."""
    return {**source.metadata, **users_metadata(request.metadata)}


def _config(thread_id: str, checkpoint_id: str | None = None) -> dict[str, Any]:
    configurable = {"thread_id": thread_id, "checkpoint_ns": ""}
    return {"configurable": configurable | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _no_checkpoint(checkpoint_id: str | None) -> NotFound:
    return NotFound(f"Checkpoint {checkpoint_id} not found")
