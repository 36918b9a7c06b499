"""Copies threads in one transaction, whatever the length of the history. No payload is read.

See docs/contract/threads.md#copying.
"""

import functools
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.engine.states import thread_status
from threadloom.engine.thread_record import show_state
from threadloom.errors import Conflict, Invalid, NotFound
from threadloom.ids import new_id
from threadloom.services.permission import handler_metadata, visible, visible_thread
from threadloom.services.records import users_metadata
from threadloom.services.requests import ThreadCopy, is_tag_name
from threadloom.services.tags import checkpoint_named
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.services.threads import may_read, new_ttl, taken
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.storage.lineage.draft import Draft
from threadloom.types import Caller, ForkedFrom, Thread

replace = msgspec.structs.replace

log = logging.getLogger("threadloom.copying")


ATTEMPTS = 10
"""How often the handlers are called again because the source's metadata changed meanwhile, before the request fails."""

MOST_COPIES = 1000
"""The largest number of copies in one request."""

FEW = 10
"""Copies that are made in an ordinary transaction. More copies are a heavy transaction, which does not delay others."""


class CopyService:
    """Copies threads: the copy has the same history and is independent from then on.

    The caller must be permitted to read the source and to create the copy. A handler may change the copy's metadata.
    """

    def __init__(self, *, storage: Storage, guard: Guard, clock: Clock, graphs: ThreadGraphs) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._graphs = graphs

    async def copy(self, caller: Caller, thread_id: str, request: ThreadCopy) -> Thread:
        """Creates a copy. Returns the existing thread with its id if `if_exists` is `do_nothing`.

        Raises:
            Conflict: there is no such thread that the caller may read, or the id of the copy is taken, or the caller may not
                create the copy.
            NotFound: the thread has no such checkpoint.
        """
        given = request.thread_id is not UNSET
        target = request.thread_id if request.thread_id is not UNSET else new_id()
        [copy] = await self._make(caller, thread_id, [target], request, given=given)
        return copy

    async def copy_many(self, caller: Caller, thread_id: str, count: int, request: ThreadCopy) -> list[Thread]:
        """Creates many copies of a thread in one transaction, all or none. The number of SQL statements does not depend on
        `count`.

        Raises:
            Invalid: `count` is not between 1 and `MOST_COPIES`, or the request names the id of a copy.
            Conflict: there is no such thread that the caller may read, or the caller may not create one of the copies.
            NotFound: the thread has no such checkpoint.
        """
        if not 1 <= count <= MOST_COPIES:
            raise Invalid(f"count must be between 1 and {MOST_COPIES}")
        if request.thread_id is not UNSET:
            raise Invalid("thread_id: many copies cannot have one id")
        return await self._make(caller, thread_id, [new_id() for _ in range(count)], request, given=False)

    async def _make(
        self, caller: Caller, thread_id: str, targets: Sequence[str], request: ThreadCopy, *, given: bool
    ) -> list[Thread]:
        """Creates copies with these ids. `given`: the caller chose the id of the only copy, so that it may be taken."""
        at = request.checkpoint_id or None if request.checkpoint_id is not UNSET else None
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        if at is not None and is_tag_name(at):
            at = await self._storage.read(functools.partial(_id_of_tag, thread_id, at, rule))
        for _ in range(ATTEMPTS):
            granted = (
                await self._granted(caller, thread_id, targets, rule, request) if self._guard.asks(caller) else None
            )
            if given:
                existing = await self._storage.read(lambda tx: tx.threads.get(targets[0]))
                if existing is not None:
                    return [await self._existing(caller, existing, request, granted)]
            shown = await self._state_at(caller, thread_id, at, rule) if at else None
            order = _Order(thread_id, targets, given, at, request, caller.user_id or None, rule, granted, shown)
            done = await self._storage.write(functools.partial(self._copy, order), heavy=len(targets) > FEW)
            if isinstance(done, Thread):
                return [await self._existing(caller, done, request, granted)]
            if done is not None:
                return await self._finalize(caller, done.threads) if done.unsettled else done.threads
        raise Conflict("Conflict")

    async def _granted(
        self, caller: Caller, thread_id: str, targets: Sequence[str], rule: Filter | None, request: ThreadCopy
    ) -> "_Granted":
        """Calls the handler of `threads.create` for each copy and returns the results.

        Raises:
            Conflict: there is no such thread that the caller may read.
        """
        source = await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule))
        if source is None:
            raise Conflict("Conflict")
        granted = _Granted(source.metadata, [], [])
        for target in targets:
            value = {"thread_id": target, "metadata": _metadata(source, request)}
            granted.rules.append(await self._guard.ask(caller, "threads", "create", value))
            granted.metadata.append(handler_metadata(caller, value))
        return granted

    async def _existing(
        self, caller: Caller, existing: Thread, request: ThreadCopy, granted: "_Granted | None"
    ) -> Thread:
        """Returns the thread that has the copy's id, if the caller may get it.

        Raises:
            Conflict: the caller may not.
        """
        made = granted.rules[0] if granted is not None else None
        if request.if_exists != "do_nothing" or not permits(made, existing.metadata):
            raise taken(existing.thread_id)
        if not await may_read(self._guard, caller, existing):
            raise taken(existing.thread_id)
        return existing

    async def _copy(self, order: "_Order", tx: Tx) -> "Thread | _Copied | None":
        """Creates the copies. Returns the existing thread if the id is taken, and None if the source's metadata changed since the
        grant.
        """
        if order.given and (existing := await tx.threads.get(order.targets[0])) is not None:
            return existing
        source = visible(await tx.threads.get(order.source, with_state=order.shown is None), order.rule)
        if source is None:
            raise Conflict("Conflict")
        granted = order.granted
        if granted is not None and granted.source != source.metadata:
            return None
        try:
            if order.given:
                newest = await tx.lineage.copy(order.source, order.targets[0], at=order.at)
            else:
                newest = await tx.lineage.copy_many(order.source, order.targets, at=order.at)
        except KeyError:
            raise _no_checkpoint(order.at) from None
        record = self._record(order, source, newest)
        metadata = {
            target: _metadata(source, order.request) if granted is None else granted.metadata[number]
            for number, target in enumerate(order.targets)
        }
        if granted is not None and not all(map(permits, granted.rules, metadata.values())):
            raise Conflict("Conflict")
        threads = [replace(record, thread_id=target, metadata=metadata[target]) for target in order.targets]
        state_of = order.source
        if order.shown is not None:
            # The first copy stores the state; the others share it.
            await tx.threads.insert(threads[0], fresh=True)
            state_of = order.targets[0]
            del metadata[state_of]
        if metadata:
            await tx.threads.insert_copies(record, metadata, state_of=state_of)
        return _Copied(threads, order.shown is None and source.status == "busy")

    def _record(self, order: "_Order", source: Thread, newest: str | None) -> Thread:
        """Returns the record of the copies without id and metadata. It shows the state of the source, now or at a checkpoint."""
        now = max(self._clock.now(), source.created_at + 1)
        thread = Thread(
            thread_id="",
            created_at=now,
            updated_at=now,
            state_updated_at=now,
            metadata={},
            config=source.config,
            ttl=source.ttl and new_ttl(source.ttl.minutes, source.ttl.strategy, now),
            forked_from=ForkedFrom(thread_id=source.thread_id, checkpoint_id=newest, at=now, user_id=order.user_id),
        )
        if order.shown is not None:
            thread.status = thread_status(active=0, has_next=order.shown.has_next)
            thread.values_json, thread.interrupts_json = order.shown.values_json, order.shown.interrupts_json
            return thread
        thread.values_json, thread.interrupts_json = source.values_json, source.interrupts_json
        thread.error = source.error if source.status != "busy" else None
        thread.status = source.status
        if source.status == "busy":
            # The newest checkpoint of a running run nearly always has next tasks. `_finalize` reads the actual state.
            thread.status = thread_status(active=0, has_next=newest is not None)
        return thread

    async def _finalize(self, caller: Caller, copies: list[Thread]) -> list[Thread]:
        """Updates the records of copies of a busy thread with their newest state, which is the same for all. The record of the
        source has the state before the run.
        """
        [first, *_] = copies
        graph_id = graph_of(first)
        snapshot = EMPTY
        if graph_id is not None:
            try:
                async with self._graphs.open(caller, first, graph_id, "threads.read") as graph:
                    snapshot = await thread_state(graph, _config(first.thread_id))
            except Exception:
                log.warning("the state of copy %s cannot be read through its graph", first.thread_id, exc_info=True)
                return copies

        async def work(copy: Thread, tx: Tx) -> Thread | None:
            now = await tx.threads.get(copy.thread_id, with_state=False)
            if now is not None and now.updated_at == copy.updated_at:
                status = await show_state(tx, copy.thread_id, snapshot, error=None)
                await tx.threads.update(copy.thread_id, status=status)
                return await tx.threads.get(copy.thread_id)
            return None

        finalized = [await self._storage.write(functools.partial(work, copy)) for copy in copies]
        return [now or copy for now, copy in zip(finalized, copies, strict=True)]

    async def _state_at(self, caller: Caller, thread_id: str, at: str, rule: Filter | None) -> Snapshot:
        """Returns the state of a thread at a checkpoint, before the tasks of that checkpoint were executed.

        Raises:
            Conflict: there is no such thread.
            NotFound: it has no such checkpoint.
        """
        thread = await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule))
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
    """The grant for copies: the source's metadata that the handler got, and for each copy the metadata that the handler returned
    and the rule that it must match.
    """

    source: dict[str, Any]
    metadata: list[dict[str, Any]]
    rules: list[Filter | None]


class _Order(msgspec.Struct, frozen=True):
    """The arguments of a copy transaction: see `CopyService._make`. `shown` is the state of copies at a checkpoint."""

    source: str
    targets: Sequence[str]
    given: bool
    at: str | None
    request: ThreadCopy
    user_id: str | None
    rule: Filter | None
    granted: _Granted | None
    shown: Snapshot | None


class _Copied(msgspec.Struct, frozen=True):
    """The new copies, and whether their state must still be read from their newest checkpoint."""

    threads: list[Thread]
    unsettled: bool


async def _id_of_tag(thread_id: str, tag: str, rule: Filter | None, tx: Tx) -> str:
    if await visible_thread(tx, thread_id, rule) is None:
        raise Conflict("Conflict")
    return await checkpoint_named(tx, thread_id, tag)


def _metadata(source: Thread, request: ThreadCopy) -> dict[str, Any]:
    """Returns the metadata of a copy: the source's, overridden by those of the request."""
    return {**source.metadata, **users_metadata(request.metadata)}


def _config(thread_id: str, checkpoint_id: str | None = None) -> dict[str, Any]:
    configurable = {"thread_id": thread_id, "checkpoint_ns": ""}
    return {"configurable": configurable | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _no_checkpoint(checkpoint_id: str | None) -> NotFound:
    return NotFound(f"Checkpoint {checkpoint_id} not found")
