"""Threads: made, read, changed, found, deleted, pruned (docs/contract/threads.md)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

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
"""Stops whatever runs on a thread, by id; returns when nothing does."""

ApplySupersteps = Callable[[Caller, Thread, Sequence[Superstep], bool, Filter | None], Awaitable[Thread]]
"""Applies supersteps to a thread and stores both in one transaction; the flag says whether the thread is new, the rule which
thread may be changed."""

NOT_ALL = "At least one thread not found or not authorized"

LAST_MOMENT = 253_402_300_799 * 1_000_000
"""The end of the year 9999: dates on the wire go no further."""


def missing(thread_id: str) -> NotFound:
    """What is said of a thread that is not there."""
    return NotFound(f"Thread with ID {thread_id} not found")


def new_ttl(minutes: float, strategy: Any, now: int) -> Ttl:
    """A time to live of `minutes` that starts now."""
    end = min(max(now + minutes * MINUTE, 0), LAST_MOMENT)
    return Ttl(minutes=minutes, strategy=strategy, expires_at=int(end))


def configured_ttl(settings: TtlSettings, now: int) -> Ttl | None:
    """The time to live that the settings give to a new thread, if any."""
    return None if settings.default_ttl is None else new_ttl(settings.default_ttl, settings.strategy, now)


class FoundThread(msgspec.Struct, frozen=True):
    """A thread that a search found. `extracted`: what the request's paths lead to, by alias; None when it has none."""

    thread: Thread
    extracted: dict[str, Any] | None


class ThreadService:
    """Threads and their records.

    Args:
        guard: what callers may do.
        ttl: settings of the time to live of new threads.
        supersteps: applies the supersteps of a create request.
        stop_runs: stops the runs of a thread that is about to go.
        gone: is told the id of each thread that was deleted.
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
        """Makes a thread, with the history that its supersteps tell, or nothing at all.

        Raises:
            Conflict: the id is taken and `if_exists` is `raise`, or the caller may not see the thread that has it; or it is
                to get supersteps while runs are active.
            BadRequest: the supersteps cannot be applied.
            NotFound: the graph that is to apply them is not served, or the caller may not apply them.
        """
        now = self._clock.now()
        thread_id = request.thread_id if request.thread_id is not UNSET else new_id()
        value = {"thread_id": thread_id, "metadata": dict(request.metadata), "if_exists": request.if_exists}
        if request.ttl is not UNSET:
            value["ttl"] = _ttl_fields(request.ttl)
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
            ttl=self._new_ttl(request.ttl, now),
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
        """Raises NotFound for an unknown thread."""
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})
        thread = visible(await self._storage.read(lambda tx: tx.threads.get(thread_id)), rule)
        if thread is None:
            raise missing(thread_id)
        return thread

    async def patch(self, caller: Caller, thread_id: str, request: ThreadPatch) -> Thread:
        """Merges metadata at the top level and starts a new time to live.

        Raises:
            NotFound: there is no such thread.
            Invalid: it would have more metadata than may be.
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
                thread.ttl = self._changed_ttl(thread.ttl, request.ttl, now)
                await tx.threads.set_ttl(thread_id, thread.ttl)
            thread.updated_at = now
            await tx.threads.update(thread_id, updated_at=now, metadata=thread.metadata)
            return thread

        thread = await self._storage.write(work)
        if thread is None:
            raise NotFound("Not Found")
        return thread

    async def delete(self, caller: Caller, thread_id: str) -> None:
        """Stops what runs on the thread, then removes it with all that belongs to it. Copies are not touched.

        Raises:
            NotFound: there is no such thread (any more).
        """
        rule = await self._guard.ask(caller, "threads", "delete", {"thread_id": thread_id})
        if not await self._delete(thread_id, rule):
            raise missing(thread_id)

    async def search(self, caller: Caller, request: ThreadSearch) -> tuple[list["FoundThread"], int | None, int]:
        """The threads found, the offset of the next page (None on the last), and how many are known so far."""
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
                await asyncio.sleep(0)  # a state is read for it, which may be large
        known = request.offset + len(rows) + more
        return rows, (request.offset + request.limit if more else None), known

    async def count(self, caller: Caller, request: ThreadCount) -> int:
        """How many threads there are that fit."""
        query = await self._query(caller, request, limit=0, offset=0)
        return await self._storage.read(lambda tx: tx.threads.count(query), heavy=_reads_documents(query))

    async def prune(self, caller: Caller, request: ThreadPrune) -> int:
        """Deletes threads, or keeps only their latest states; gives the number of threads it was done to.

        Raises:
            NotFound: not everything is the caller's to prune; then nothing is pruned.
        """
        thread_ids = list(dict.fromkeys(request.thread_ids))
        rule = await self._guard.ask(caller, "threads", "delete", {"thread_ids": thread_ids})

        async def all_seen(tx: Tx) -> bool:
            return await tx.threads.count(ThreadQuery(ids=thread_ids, where=rule)) == len(thread_ids)

        if rule is not None and thread_ids and not await self._storage.read(all_seen):
            raise NotFound(NOT_ALL)
        pruned = 0
        for thread_id in thread_ids:
            await asyncio.sleep(0)  # others have their turn
            if request.strategy == "delete":
                pruned += await self._delete(thread_id, rule)
            else:
                pruned += await self._keep_latest(thread_id, rule)
        return pruned

    async def storage(self, caller: Caller, thread_id: str) -> ThreadStorageResponse:
        """What a thread's history takes up, inherited parts included (docs/contract/threads.md#prune-and-storage).

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
                stored_bytes=usage.stored_bytes,
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
        """What a search means for its caller."""
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
        return ThreadQuery(where=where, metadata=metadata or None, values=value["values"] or None, status=status)

    def _new_ttl(self, asked: Any, now: int) -> Ttl | None:
        """The time to live of a new thread: what was asked for, else what the settings say."""
        if asked is not UNSET and asked.ttl is not UNSET:
            return new_ttl(asked.ttl, asked.strategy, now)
        if asked is not UNSET and self._ttl.default_ttl is not None:
            return new_ttl(self._ttl.default_ttl, asked.strategy, now)
        return configured_ttl(self._ttl, now)

    def _changed_ttl(self, old: Ttl | None, asked: ThreadTtl, now: int) -> Ttl | None:
        """The new time to live of a thread. Without minutes the old ones (else the settings') start again."""
        if asked.ttl is UNSET and old is not None:
            return new_ttl(old.minutes, asked.strategy, now)
        return self._new_ttl(asked, now)


async def may_read(guard: Guard, caller: Caller, thread: Thread) -> bool:
    """Whether a caller may read a thread that has the id of one that was to be made."""
    try:
        rule = await guard.ask(caller, "threads", "read", {"thread_id": thread.thread_id})
    except ApiError as refused:
        if refused.status >= 500:
            raise
        return False
    return permits(rule, thread.metadata)


def taken(thread_id: str) -> Conflict:
    """What is said of a thread id that is taken."""
    return Conflict(f"Thread with ID {thread_id} already exists")


async def keep_latest(tx: Tx, thread_id: str) -> bool:
    """Forgets all but what a thread's latest state needs. False when it is not there or has active runs."""
    if not await tx.threads.permitted(thread_id, None) or await tx.runs.has_active(thread_id):
        return False
    await tx.lineage.prune(thread_id)
    return True


def _ttl_fields(asked: ThreadTtl) -> dict[str, Any]:
    """A time to live as handlers see it."""
    return {"strategy": asked.strategy, **({} if asked.ttl is UNSET else {"ttl": asked.ttl})}


def _reads_documents(query: ThreadQuery) -> bool:
    """Whether many documents may have to be looked at: that is done aside, so that others are not held up."""
    return bool(query.where is not None or query.metadata or query.values)
