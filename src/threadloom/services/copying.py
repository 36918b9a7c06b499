"""Copying threads (contract, threads §9): one transaction, whatever the length of the history. No payload is read."""

import logging
from typing import Any

from msgspec import UNSET

from threadloom.clock import Clock
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.engine.states import thread_status
from threadloom.errors import Conflict, NotFound
from threadloom.ids import new_id
from threadloom.services.records import users_metadata
from threadloom.services.requests import ThreadCopy
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.services.threads import new_ttl, taken
from threadloom.storage.base import Storage, Tx
from threadloom.storage.draft import Draft
from threadloom.types import Caller, ForkedFrom, Thread

log = logging.getLogger("threadloom.copying")


class CopyService:
    """Copies threads: the copy has the same history and lives apart from then on."""

    def __init__(self, *, storage: Storage, clock: Clock, graphs: ThreadGraphs) -> None:
        self._storage = storage
        self._clock = clock
        self._graphs = graphs

    async def copy(self, caller: Caller, thread_id: str, request: ThreadCopy) -> Thread:
        """Makes a copy, or gives back the thread that has its id when `if_exists` is `do_nothing`.

        Raises:
            Conflict: there is no such thread, or the id of the copy is taken.
            NotFound: the thread has no such checkpoint.
        """
        target = request.thread_id if request.thread_id is not UNSET else new_id()
        at = request.checkpoint_id or None if request.checkpoint_id is not UNSET else None
        if request.thread_id is not UNSET:
            existing = await self._storage.read(lambda tx: tx.threads.get(target))
            if existing is not None and request.if_exists == "do_nothing":
                return existing
        shown = await self._state_at(thread_id, at) if at else None

        async def work(tx: Tx) -> tuple[Thread, bool]:
            existing = await tx.threads.get(target)
            if existing is not None:
                if request.if_exists == "do_nothing":
                    return existing, False
                raise taken(target)
            source = await tx.threads.get(thread_id, with_state=False)
            if source is None:
                raise Conflict("Conflict")
            try:
                newest = await tx.lineage.copy(thread_id, target, at=at)
            except KeyError:
                raise _no_checkpoint(at) from None
            thread = self._record(source, target, newest, shown)
            thread.metadata |= users_metadata(request.metadata)
            await tx.threads.insert(thread)
            if shown is None:
                await tx.threads.share_state(thread_id, target)
            made = await tx.threads.get(target)
            assert made is not None
            return made, shown is None and source.status == "busy"

        thread, unsettled = await self._storage.write(work)
        return await self._settle(thread) if unsettled else thread

    def _record(self, source: Thread, target: str, newest: str | None, shown: Snapshot | None) -> Thread:
        """The record of the copy. `shown` is what a copy at a checkpoint shows; otherwise it shows what the source does."""
        now = max(self._clock.now(), source.created_at + 1)
        thread = Thread(
            thread_id=target,
            created_at=now,
            updated_at=now,
            state_updated_at=now,
            metadata=dict(source.metadata),
            config=source.config,
            ttl=source.ttl and new_ttl(source.ttl.minutes, source.ttl.strategy, now),
            forked_from=ForkedFrom(thread_id=source.thread_id, checkpoint_id=newest, at=now),
        )
        if shown is not None:
            thread.status = thread_status(active=0, has_next=shown.has_next)
            thread.values_json, thread.interrupts_json = shown.values_json, shown.interrupts_json
            return thread
        thread.error = source.error
        thread.status = source.status
        if source.status == "busy":
            # A checkpoint under a run nearly always has tasks to do; `_settle` looks.
            thread.status = thread_status(active=0, has_next=newest is not None)
        return thread

    async def _settle(self, thread: Thread) -> Thread:
        """Gives the copy of a busy thread the status that its newest checkpoint tells."""
        graph_id = graph_of(thread)
        snapshot = EMPTY
        if graph_id is not None:
            try:
                async with self._graphs.open(thread, graph_id, "threads.read") as graph:
                    snapshot = await thread_state(graph, _config(thread.thread_id))
            except Exception:
                log.warning("the state of copy %s cannot be read through its graph", thread.thread_id, exc_info=True)
        status = thread_status(active=0, has_next=snapshot.has_next)
        if status == thread.status:
            return thread

        async def work(tx: Tx) -> None:
            now = await tx.threads.get(thread.thread_id, with_state=False)
            if now is not None and now.updated_at == thread.updated_at:
                await tx.threads.update(thread.thread_id, status=status)

        await self._storage.write(work)
        thread.status = status
        return thread

    async def _state_at(self, thread_id: str, at: str) -> Snapshot:
        """What a thread showed at one of its checkpoints, before the tasks of that checkpoint had run.

        Raises:
            Conflict: there is no such thread.
            NotFound: it has no such checkpoint.
        """
        thread = await self._storage.read(lambda tx: tx.threads.get(thread_id, with_state=False))
        if thread is None:
            raise Conflict("Conflict")
        if await self._storage.read(lambda tx: tx.lineage.get(thread_id, "", at)) is None:
            raise _no_checkpoint(at)
        graph_id = graph_of(thread)
        if graph_id is None:
            return EMPTY
        try:
            async with self._graphs.open(thread, graph_id, "threads.read") as graph:
                before = Draft(self._storage, thread_id, bare=at)
                bare = graph.copy({"checkpointer": graph.checkpointer.over(before)})
                return await thread_state(bare, _config(thread_id, at))
        except Exception:
            log.warning("thread %s cannot be read through its graph", thread_id, exc_info=True)
            return EMPTY


def _config(thread_id: str, checkpoint_id: str | None = None) -> dict[str, Any]:
    configurable = {"thread_id": thread_id, "checkpoint_ns": ""}
    return {"configurable": configurable | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _no_checkpoint(checkpoint_id: str | None) -> NotFound:
    return NotFound(f"Checkpoint {checkpoint_id} not found")
