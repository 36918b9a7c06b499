"""Copies threads in one transaction, whatever the length of the history. No payload is read.

See docs/contract/threads.md#copying and docs/contract/repository.md#copy-anywhere.
"""

import functools
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.checkpointer import Saver
from threadloom.clock import Clock
from threadloom.config.settings import ThreadTtlSettings
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.engine.states import thread_status
from threadloom.engine.thread_record import show_state
from threadloom.errors import Conflict, UnstoredParentError
from threadloom.ids import new_id
from threadloom.services.copy_cuts import CopyCut, CopyCuts, no_checkpoint, root_config, unstored
from threadloom.services.permission import handler_metadata, visible, visible_thread
from threadloom.services.records import users_metadata
from threadloom.services.requests import ThreadCopy
from threadloom.services.run_grant import AssistantResolver
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.services.threads import changed_ttl, may_read, new_ttl, taken, ttl_fields
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.types import Assistant, Caller, ForkedFrom, Thread, Ttl

replace = msgspec.structs.replace

log = logging.getLogger("threadloom.copying")


ATTEMPTS = 10
"""How often the handlers are called again because the source's metadata changed meanwhile, before the request fails."""

FEW = 10
"""Copies that are made in an ordinary transaction. More copies are a heavy transaction, which does not delay others."""


class AssistantReader(AssistantResolver, Protocol):
    """What copies need of the assistants service."""

    async def get(self, caller: Caller, assistant_id: str) -> Assistant:
        """Returns an assistant. Raises NotFound if the caller may not read it."""
        ...


class Copies(msgspec.Struct, frozen=True):
    """The answer to a request: the copies, or the thread that had the id already; and where the copies end, if the request said
    so and they are new.
    """

    threads: list[Thread]
    cut: CopyCut | None = None


class CopyService:
    """Copies threads: the copy has the same history and is independent from then on.

    The caller must be permitted to read the source and to create the copy. A handler may change the copy's metadata.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        guard: Guard,
        clock: Clock,
        graphs: ThreadGraphs,
        saver: Saver,
        assistants: AssistantReader,
        ttl: ThreadTtlSettings,
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._graphs = graphs
        self._assistants = assistants
        self._ttl = ttl
        self._cuts = CopyCuts(storage=storage, graphs=graphs, saver=saver)

    async def copy(self, caller: Caller, thread_id: str, request: ThreadCopy) -> Copies:
        """Creates copies in one transaction, all or none. The number of SQL statements does not depend on their number.

        Returns the existing thread with the copy's id if `if_exists` is `do_nothing`.

        Raises:
            Conflict: there is no such thread that the caller may read, or the id of the copy is taken, or the caller may not
                create one of the copies, or a copy cannot end where the request says.
            NotFound: the thread has no such checkpoint, or there is no such assistant that the caller may read.
            Invalid: the assistant is neither an id nor a graph.
        """
        given = request.thread_id is not UNSET
        targets = [request.thread_id] if request.thread_id is not UNSET else _new_ids(request)
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        assistant = await self._assistant(caller, request)
        patches = _patches(request, len(targets), assistant)
        busy = False
        for attempt in range(ATTEMPTS):
            granted = None
            if self._guard.asks(caller):
                granted = await self._granted(caller, thread_id, targets, rule, patches, request)
            if given:
                existing = await self._storage.read(lambda tx: tx.threads.get(targets[0]))
                if existing is not None:
                    return Copies([await self._existing(caller, existing, request, granted)])
            cut, shown = await self._end(caller, thread_id, rule, request, assistant, busy=busy)
            end = cut
            if cut is None and shown is not None and shown.checkpoint_id and attempt >= ATTEMPTS // 2:
                end = CopyCut(checkpoint_id=shown.checkpoint_id)
            order = _Order(
                thread_id, targets, given, end, request, patches, caller.user_id or None, rule, granted, shown, busy
            )
            heavy = len(targets) > FEW or request.keep != "all"
            try:
                done = await self._storage.write(functools.partial(self._copy, order), heavy=heavy)
            except _MovedOnError:
                busy = True
                continue
            if isinstance(done, Thread):
                return Copies([await self._existing(caller, done, request, granted)])
            if done is not None:
                threads = done.threads
                return Copies([await self._finalize(caller, threads[0])] if done.unsettled else threads, cut)
        raise Conflict("Conflict")

    async def _assistant(self, caller: Caller, request: ThreadCopy) -> Assistant | None:
        if request.assistant_id is UNSET:
            return None
        name = request.assistant_id
        assistant_id = self._assistants.id_of(name)
        if self._assistants.is_own(assistant_id):
            return await self._storage.read(lambda tx: self._assistants.resolve(tx, name))
        return await self._assistants.get(caller, assistant_id)

    async def _granted(
        self,
        caller: Caller,
        thread_id: str,
        targets: Sequence[str],
        rule: Filter | None,
        patches: Sequence[dict[str, Any]],
        request: ThreadCopy,
    ) -> "_Granted":
        """Calls the handler of `threads.create` for each copy and returns the results.

        Raises:
            Conflict: there is no such thread that the caller may read.
        """
        source = await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule))
        if source is None:
            raise Conflict("Conflict")
        granted = _Granted(source.metadata, [], [])
        for target, patch in zip(targets, patches, strict=True):
            value: dict[str, Any] = {"thread_id": target, "metadata": {**source.metadata, **patch}}
            if request.ttl is not UNSET:
                value["ttl"] = ttl_fields(request.ttl)
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

    async def _end(
        self,
        caller: Caller,
        thread_id: str,
        rule: Filter | None,
        request: ThreadCopy,
        assistant: Assistant | None,
        *,
        busy: bool,
    ) -> tuple[CopyCut | None, Snapshot | None]:
        """Returns where copies end, None for whole copies; and the state that they show, None for that of the source's record.

        The record of a busy thread has the state before the run. So for many copies the state is read first.

        Raises:
            Conflict: there is no such thread, or a copy cannot end there.
            NotFound: it has no such checkpoint.
        """
        named = (request.checkpoint_id, request.checkpoint, request.message_id)
        whole = all(name is UNSET for name in named)
        if whole and not busy:
            return None, None
        thread = await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule))
        if thread is None:
            raise Conflict("Conflict")
        graph_id = None if assistant is None else assistant.graph_id
        cut = await self._cuts.find(thread, request)
        if cut is not None:
            return cut, await self._cuts.state(caller, thread, cut, graph_id)
        return None, await self._cuts.newest_state(caller, thread, graph_id) if thread.status == "busy" else None

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
        newest = await self._copy_history(order, tx)
        moved_on = (
            order.shown is None and source.status == "busy" and order.request.count is not UNSET and not order.busy
        )
        moved_on = moved_on or (
            order.shown is not None and (source.status, newest) != ("busy", order.shown.checkpoint_id)
        )
        if order.cut is None and moved_on:
            raise _MovedOnError
        record = self._record(order, source, newest)
        metadata = {
            target: {**source.metadata, **order.patches[number]} if granted is None else granted.metadata[number]
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
        return _Copied(threads, order.shown is None and order.request.count is UNSET and source.status == "busy")

    async def _copy_history(self, order: "_Order", tx: Tx) -> str | None:
        """Copies the history. Returns the newest root checkpoint of the copies."""
        at, namespace = (None, "") if order.cut is None else (order.cut.checkpoint_id, order.cut.namespace)
        if order.cut is not None and at is None:
            return None
        keep = order.request.keep
        most = None if keep == "all" else 1 if keep == "latest" else keep
        try:
            if order.given:
                return await tx.lineage.copy(order.source, order.targets[0], at=at, namespace=namespace, keep=most)
            return await tx.lineage.copy_many(order.source, order.targets, at=at, namespace=namespace, keep=most)
        except KeyError:
            raise no_checkpoint(at) from None
        except UnstoredParentError as error:
            raise unstored(error) from None

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
            ttl=self._time_to_live(order.request, source.ttl, now),
            forked_from=ForkedFrom(
                thread_id=source.thread_id,
                checkpoint_id=newest,
                at=now,
                user_id=order.user_id,
                root_thread_id=source.root_thread_id or source.thread_id,
            ),
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

    def _time_to_live(self, request: ThreadCopy, sources: Ttl | None, now: int) -> Ttl | None:
        if request.ttl is not UNSET:
            return changed_ttl(sources, request.ttl, self._ttl, now)
        return sources and new_ttl(sources.minutes, sources.strategy, now)

    async def _finalize(self, caller: Caller, copy: Thread) -> Thread:
        """Updates the record of a copy of a busy thread with its newest state. The record of the source has the state before the
        run.
        """
        graph_id = graph_of(copy)
        snapshot = EMPTY
        if graph_id is not None:
            try:
                async with self._graphs.open(caller, copy, graph_id, "threads.read") as graph:
                    snapshot = await thread_state(graph, root_config(copy.thread_id))
            except Exception:
                log.warning("the state of copy %s cannot be read through its graph", copy.thread_id, exc_info=True)
                return copy

        async def work(tx: Tx) -> Thread:
            now = await tx.threads.get(copy.thread_id, with_state=False)
            if now is None or now.updated_at != copy.updated_at:
                return now or copy
            status = await show_state(tx, copy.thread_id, snapshot, error=None)
            await tx.threads.update(copy.thread_id, status=status)
            return await tx.threads.get(copy.thread_id) or copy

        return await self._storage.write(work)


class _MovedOnError(Exception):
    """The source is busy, or has another state than the one that its copies were to show. Nothing was stored."""


class _Granted(msgspec.Struct, frozen=True):
    """The grant for copies: the source's metadata that the handler got, and for each copy the metadata that the handler returned
    and the rule that it must match.
    """

    source: dict[str, Any]
    metadata: list[dict[str, Any]]
    rules: list[Filter | None]


class _Order(msgspec.Struct, frozen=True):
    """The arguments of a copy transaction. `given`: the caller chose the id of the only copy, so that it may be taken. `shown` is
    the state of copies that end at a checkpoint, or of a busy thread if `busy`: it was found to be so.
    """

    source: str
    targets: Sequence[str]
    given: bool
    cut: CopyCut | None
    request: ThreadCopy
    patches: Sequence[dict[str, Any]]
    user_id: str | None
    rule: Filter | None
    granted: _Granted | None
    shown: Snapshot | None
    busy: bool


class _Copied(msgspec.Struct, frozen=True):
    """The new copies, and whether their state must still be read from their newest checkpoint."""

    threads: list[Thread]
    unsettled: bool


def _new_ids(request: ThreadCopy) -> list[str]:
    return [new_id() for _ in range(1 if request.count is UNSET else request.count)]


def _patches(request: ThreadCopy, count: int, assistant: Assistant | None) -> list[dict[str, Any]]:
    """Returns what is merged over the source's metadata, for each copy."""
    given = request.metadata if isinstance(request.metadata, list) else [request.metadata] * count
    named = {} if assistant is None else {"assistant_id": assistant.assistant_id, "graph_id": assistant.graph_id}
    return [{**users_metadata(metadata), **named} for metadata in given]
