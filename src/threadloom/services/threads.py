"""Creates, reads, updates, searches, deletes and prunes threads (docs/contract/threads.md)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from threadloom.auth.authorize import Guard
from threadloom.clock import MINUTE, Clock
from threadloom.config.settings import ThreadTtlSettings as TtlSettings
from threadloom.engine.removal import remove_thread
from threadloom.errors import ApiError, Conflict, NotFound
from threadloom.ids import new_id
from threadloom.services.extract import extracted, parse_path
from threadloom.services.permission import and_, handler_metadata, visible, visible_thread
from threadloom.services.records import users_metadata
from threadloom.services.requests import (
    Superstep,
    ThreadCount,
    ThreadCreate,
    ThreadPatch,
    ThreadPrune,
    ThreadSearch,
    ThreadTtl,
)
from threadloom.services.requests.common import check_metadata
from threadloom.services.responses import (
    ChannelSizeResponse,
    ChannelsSizeResponse,
    SizeResponse,
    ThreadStorageResponse,
)
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.storage.threads import ThreadQuery
from threadloom.types import Caller, Thread, Ttl

StopRuns = Callable[[str], Awaitable[None]]
"""Cancels all runs of a thread, by its id; returns when none is active."""

ApplySupersteps = Callable[[Caller, Thread, Sequence[Superstep], bool, Filter | None], Awaitable[Thread]]
"""Applies supersteps to a thread and stores both in one transaction. The flag says whether the thread is new; the rule is the
filter for the thread.
"""

NOT_ALL = "At least one thread not found or not authorized"

LAST_MOMENT = 253_402_300_799 * 1_000_000
"""The end of the year 9999, the latest date in responses."""


def missing(thread_id: str) -> NotFound:
    """Returns the error for a thread that does not exist."""
    return NotFound(f"Thread with ID {thread_id} not found")


def new_ttl(minutes: float, strategy: Any, now: int) -> Ttl:
    """Returns a time to live of `minutes` that starts now."""
    end = min(max(now + minutes * MINUTE, 0), LAST_MOMENT)
    return Ttl(minutes=minutes, strategy=strategy, expires_at=int(end))


def configured_ttl(settings: TtlSettings, now: int) -> Ttl | None:
    """Returns the time to live of a new thread in the settings, if any."""
    return None if settings.default_ttl is None else new_ttl(settings.default_ttl, settings.strategy, now)


def requested_ttl(asked: ThreadTtl | UnsetType, settings: TtlSettings, now: int) -> Ttl | None:
    """Returns the time to live of a new thread: that of the request, else that of the settings."""
    if asked is not UNSET and asked.ttl is not UNSET:
        return new_ttl(asked.ttl, asked.strategy, now)
    if asked is not UNSET and settings.default_ttl is not None:
        return new_ttl(settings.default_ttl, asked.strategy, now)
    return configured_ttl(settings, now)


def changed_ttl(old: Ttl | None, asked: ThreadTtl, settings: TtlSettings, now: int) -> Ttl | None:
    """Returns the new time to live of a thread. If the request has no minutes, the previous time to live (else that of the
    settings) starts again.
    """
    if asked.ttl is UNSET and old is not None:
        return new_ttl(old.minutes, asked.strategy, now)
    return requested_ttl(asked, settings, now)


class FoundThread(msgspec.Struct, frozen=True):
    """A thread that a search found. `extracted`: the values of the request's paths, by alias; None if the request has no
    paths.
    """

    thread: Thread
    extracted: dict[str, Any] | None


class ThreadService:
    """Operations on threads and their records.

    Args:
        guard: authorizes callers.
        ttl: settings of the time to live of new threads.
        supersteps: applies the supersteps of a create request.
        stop_runs: cancels the runs of a thread that is about to be deleted.
        gone: called with the id of each deleted thread.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        guard: Guard,
        clock: Clock,
        ttl: TtlSettings,
        supersteps: ApplySupersteps,
        stop_runs: StopRuns,
        gone: Callable[[str], None],
    ) -> None:
        self._gone = gone
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._ttl = ttl
        self._supersteps = supersteps
        self._stop_runs = stop_runs

    async def create(self, caller: Caller, request: ThreadCreate) -> Thread:
        """Creates a thread, with the history of its supersteps. If that fails, nothing is stored.

        Raises:
            Conflict: the id is taken and `if_exists` is `raise`, or the thread with this id is not visible to the caller; or
                supersteps are to be applied while runs are active.
            BadRequest: the supersteps cannot be applied.
            NotFound: the graph that is to apply them is not served, or the caller may not apply them.
        """
        now = self._clock.now()
        thread_id = request.thread_id if request.thread_id is not UNSET else new_id()
        value = {"thread_id": thread_id, "metadata": dict(request.metadata), "if_exists": request.if_exists}
        if request.ttl is not UNSET:
            value["ttl"] = ttl_fields(request.ttl)
        rule = await self._guard.ask(caller, "threads", "create", value)
        changes = None
        if request.supersteps:
            changes = and_(
                await self._guard.ask(caller, "threads", "update", {"thread_id": thread_id}),
                await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id}),
            )
        thread = Thread(
            thread_id=thread_id,
            created_at=now,
            updated_at=now,
            state_updated_at=now,
            metadata=users_metadata(handler_metadata(caller, value)),
            ttl=requested_ttl(request.ttl, self._ttl, now),
        )

        async def work(tx: Tx) -> Thread | None:
            if not request.supersteps and await tx.threads.insert(thread):
                return None
            return await tx.threads.get(thread.thread_id)

        existing = await self._storage.write(work)
        if existing is not None and (
            request.if_exists == "raise"
            or not (permits(rule, existing.metadata) and await may_read(self._guard, caller, existing))
        ):
            raise taken(thread_id)
        if request.supersteps:
            return await self._supersteps(caller, existing or thread, request.supersteps, existing is None, changes)
        return existing or thread

    async def get(self, caller: Caller, thread_id: str) -> Thread:
        """Returns a thread. Raises NotFound for an unknown thread."""
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        thread = visible(await self._storage.read(lambda tx: tx.threads.get(thread_id)), rule)
        if thread is None:
            raise missing(thread_id)
        return thread

    async def patch(self, caller: Caller, thread_id: str, request: ThreadPatch) -> Thread:
        """Merges metadata at the top level and sets a new time to live.

        Raises:
            NotFound: there is no such thread.
            Invalid: the merged metadata is too large.
        """
        value = {"thread_id": thread_id, "metadata": {} if request.metadata is UNSET else dict(request.metadata)}
        rule = await self._guard.ask(caller, "threads", "update", value)
        metadata = users_metadata(handler_metadata(caller, value))

        async def work(tx: Tx) -> Thread | None:
            thread = visible(await tx.threads.get(thread_id), rule)
            if thread is None:
                return None
            now = max(self._clock.now(), thread.updated_at + 1)
            thread.metadata.update(metadata)
            check_metadata(thread.metadata)
            if request.ttl is not UNSET:
                thread.ttl = changed_ttl(thread.ttl, request.ttl, self._ttl, now)
                await tx.threads.set_ttl(thread_id, thread.ttl)
            thread.updated_at = now
            await tx.threads.update(thread_id, updated_at=now, metadata=thread.metadata)
            return thread

        thread = await self._storage.write(work)
        if thread is None:
            raise NotFound("Not Found")
        return thread

    async def delete(self, caller: Caller, thread_id: str) -> None:
        """Cancels the runs of the thread, then deletes it with everything that belongs to it. Copies are not changed.

        Raises:
            NotFound: there is no such thread (any more).
        """
        rule = await self._guard.ask(caller, "threads", "delete", {"thread_id": thread_id})
        if not await self._delete(thread_id, rule):
            raise missing(thread_id)

    async def search(self, caller: Caller, request: ThreadSearch) -> tuple[list["FoundThread"], int | None, int]:
        """Returns the threads found, the offset of the next page (None on the last), and how many are known so far."""
        select = set(request.select)
        paths = {alias: parse_path(path) for alias, path in request.extract.items()}
        roots = {path[0] for path in paths.values() if path is not None}
        query = await self._query(caller, request, limit=request.limit, offset=request.offset)
        query.ids = request.ids or None
        query.limit = request.limit + 1
        query.offset = request.offset
        query.sort_by = request.sort_by
        query.descending = request.sort_order == "desc"
        query.with_state = not select or bool({"values", "interrupts"} & (select | roots))
        found = await self._storage.read(lambda tx: tx.threads.search(query), heavy=_reads_documents(query))
        more = len(found) > request.limit
        rows = []
        for thread in found[: request.limit]:
            rows.append(FoundThread(thread, extracted(thread, paths) if paths else None))
            if paths:
                await asyncio.sleep(0)  # extracting parses a state, which may be large: lets other tasks run
        known = request.offset + len(rows) + more
        return rows, (request.offset + request.limit if more else None), known

    async def count(self, caller: Caller, request: ThreadCount) -> int:
        """Returns how many threads match the filters."""
        query = await self._query(caller, request, limit=0, offset=0)
        return await self._storage.read(lambda tx: tx.threads.count(query), heavy=_reads_documents(query))

    async def prune(self, caller: Caller, request: ThreadPrune) -> int:
        """Deletes threads, or deletes all but their latest states. Returns the number of threads that were pruned.

        Raises:
            NotFound: the caller may not prune one of them; then nothing is pruned.
        """
        thread_ids = list(dict.fromkeys(request.thread_ids))
        rule = await self._guard.ask(caller, "threads", "delete", {"thread_ids": thread_ids})

        async def all_seen(tx: Tx) -> bool:
            return await tx.threads.count(ThreadQuery(ids=thread_ids, where=rule)) == len(thread_ids)

        if rule is not None and thread_ids and not await self._storage.read(all_seen):
            raise NotFound(NOT_ALL)
        pruned = 0
        for thread_id in thread_ids:
            await asyncio.sleep(0)  # lets other tasks run
            if request.strategy == "delete":
                pruned += await self._delete(thread_id, rule)
            else:
                pruned += await self._keep_latest(thread_id, rule)
        return pruned

    async def storage(self, caller: Caller, thread_id: str) -> ThreadStorageResponse:
        """Returns the size of a thread's history, including inherited parts (docs/contract/threads.md#prune-and-storage).

        Raises:
            NotFound: there is no such thread.
        """
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})

        async def work(tx: Tx) -> ThreadStorageResponse | None:
            if await visible_thread(tx, thread_id, rule) is None:
                return None
            usage = await tx.lineage.usage(thread_id)
            channels = {
                name: ChannelSizeResponse(versions=versions, bytes=size)
                for name, (versions, size) in sorted(usage.channels.items())
            }
            (checkpoints, checkpoint_bytes), (writes, write_bytes) = usage.checkpoints, usage.pending_writes
            value_bytes = sum(channel.bytes for channel in channels.values())
            return ThreadStorageResponse(
                thread_id=thread_id,
                total_bytes=checkpoint_bytes + value_bytes + write_bytes,
                checkpoints=SizeResponse(count=checkpoints, bytes=checkpoint_bytes),
                channel_values=ChannelsSizeResponse(
                    count=sum(channel.versions for channel in channels.values()), bytes=value_bytes, by_channel=channels
                ),
                pending_writes=SizeResponse(count=writes, bytes=write_bytes),
                stored_bytes=usage.stored_bytes or UNSET,
                shared_bytes=usage.shared_bytes or UNSET,
            )

        answer = await self._storage.read(work, heavy=True)
        if answer is None:
            raise missing(thread_id)
        return answer

    async def _delete(self, thread_id: str, rule: Filter | None) -> bool:
        if not await self._storage.read(lambda tx: tx.threads.permitted(thread_id, rule)):
            return False
        await self._stop_runs(thread_id)

        async def work(tx: Tx) -> bool:
            if rule is not None and not await tx.threads.permitted(thread_id, rule):
                return False
            return await remove_thread(tx, thread_id, now=self._clock.now())

        deleted = await self._storage.write(work, heavy=True)
        if deleted:
            self._gone(thread_id)
        return deleted

    async def _keep_latest(self, thread_id: str, rule: Filter | None) -> bool:
        async def work(tx: Tx) -> bool:
            if rule is not None and not await tx.threads.permitted(thread_id, rule):
                return False
            return await keep_latest(tx, thread_id)

        return await self._storage.write(work, heavy=True)

    async def _query(self, caller: Caller, request: ThreadCount, *, limit: int, offset: int) -> ThreadQuery:
        """Builds the query of a search for its caller."""
        status = None if request.status is UNSET else request.status
        value: dict[str, Any] = {
            "metadata": {} if request.metadata is UNSET else dict(request.metadata or {}),
            "values": {} if request.values is UNSET else dict(request.values or {}),
            "status": status,
            "limit": limit,
            "offset": offset,
        }
        where = await self._guard.ask(caller, "threads", "search", value)
        metadata = handler_metadata(caller, value)
        return ThreadQuery(
            where=where,
            metadata=metadata or None,
            values=value["values"] or None,
            status=status,
            forked_from=None if request.forked_from is UNSET else request.forked_from,
            tree_of=None if request.root_thread_id is UNSET else request.root_thread_id,
        )


async def may_read(guard: Guard, caller: Caller, thread: Thread) -> bool:
    """Returns whether a caller may read an existing thread whose id the caller asked for."""
    try:
        rule = await guard.ask(caller, "threads", "read", {"thread_id": thread.thread_id})
    except ApiError as refused:
        if refused.status >= 500:
            raise
        return False
    return permits(rule, thread.metadata)


def taken(thread_id: str) -> Conflict:
    """Returns the error for a thread id that is taken."""
    return Conflict(f"Thread with ID {thread_id} already exists")


async def keep_latest(tx: Tx, thread_id: str) -> bool:
    """Deletes what a thread's latest state does not need. Returns False if the thread does not exist or has active runs."""
    if not await tx.threads.permitted(thread_id, None) or await tx.runs.has_active(thread_id):
        return False
    await tx.lineage.prune(thread_id)
    return True


def ttl_fields(asked: ThreadTtl) -> dict[str, Any]:
    """Returns a time to live in the form that handlers get."""
    return {"strategy": asked.strategy, **({} if asked.ttl is UNSET else {"ttl": asked.ttl})}


def _reads_documents(query: ThreadQuery) -> bool:
    """Returns whether a query may read many JSON documents. Such a read is heavy, so that it does not delay others."""
    return bool(query.where is not None or query.metadata or query.values)
