"""The tables of a transaction with encrypted content. Each wraps the storage's own table, encrypts what is written and decrypts
what is read.

A method without content is the storage's own (`PLAIN`); a test in `tests/unit` checks that every other method is defined here.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from threadloom.codec import contains, from_json
from threadloom.encryption.cipher import Cipher, Location
from threadloom.encryption.records import Sealer
from threadloom.storage.assistants import AssistantQuery
from threadloom.storage.crons import CronQuery
from threadloom.storage.events import EventValue, Page, StoredEvents
from threadloom.storage.queue import Claim, Lease
from threadloom.storage.tasks import Task, TaskQuery
from threadloom.storage.threads import Relative, ThreadQuery
from threadloom.types import Assistant, Cron, Delivery, Event, Outcome, Run, RunStatus, Thread, ThreadStatus

replace = msgspec.structs.replace

PAGE = 100
"""Records per page where records have to be decrypted to know whether they match."""


class Table:
    """What all tables have in common.

    A table calls `ready` before it returns what it read. It need not do so for what it writes: a transaction may hold many puts,
    and `complete` is called before the commit.

    Args:
        inner: the storage's own table.
    """

    PLAIN: ClassVar[tuple[str, ...]] = ()

    def __init__(self, inner: Any, cipher: Cipher) -> None:
        self._inner = inner
        self._sealer = Sealer(cipher)
        self._ready = cipher.ready
        for name in self.PLAIN:
            setattr(self, name, getattr(inner, name))


class SealedThreads(Table):
    """`storage.threads.Threads`."""

    PLAIN = (
        "newest_change",
        "expired",
        "set_ttl",
        "ttl",
        "permitted",
        "set_priority",
        "delete",
        "copies",
        "of_one_tree",
        "direct_copies",
    )

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        sealed = self._sealer.thread(thread)
        inserted: bool = await self._inner.insert(sealed, fresh=fresh)
        return inserted

    async def insert_copies(self, record: Thread, metadata: Mapping[str, Mapping[str, Any]], *, state_of: str) -> None:
        bare = replace(record, values_json=None, interrupts_json=None)
        sealed = {
            key: self._sealer.cipher.seal_metadata(Location("thread", "metadata"), one) for key, one in metadata.items()
        }
        await self._inner.insert_copies(self._sealer.thread(bare), sealed, state_of=state_of)

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        found = await self._inner.get(thread_id, with_state=with_state)
        return self._opened([found])[0] if found is not None else None

    async def update(
        self,
        thread_id: str,
        *,
        updated_at: int | None = None,
        state_updated_at: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        status: ThreadStatus | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if metadata is not None:
            metadata = self._sealer.cipher.seal_metadata(Location("thread", "metadata"), metadata)
        config = self._sealer.document("thread", "config", config)
        await self._inner.update(
            thread_id,
            updated_at=updated_at,
            state_updated_at=state_updated_at,
            metadata=metadata,
            status=status,
            config=config,
        )

    async def set_state(
        self,
        thread_id: str,
        *,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        values_json = self._sealer.text("thread", "values", values_json)
        interrupts_json = self._sealer.text("thread", "interrupts", interrupts_json)
        error = self._sealer.document("thread", "error", error)
        await self._inner.set_state(thread_id, values_json=values_json, interrupts_json=interrupts_json, error=error)

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None:
        error = self._sealer.document("thread", "error", error)
        await self._inner.set_error(thread_id, error)

    async def ancestors(self, thread_id: str) -> list[Relative]:
        return self._opened_relatives(await self._inner.ancestors(thread_id))

    async def family(self, thread_id: str, limit: int) -> list[Relative]:
        return self._opened_relatives(await self._inner.family(thread_id, limit))

    async def search(self, query: ThreadQuery) -> list[Thread]:
        if not query.values:
            return self._opened(await self._inner.search(query))
        end = query.offset + query.limit
        found: list[Thread] = []
        async for thread in self._fitting(query):
            found.append(thread)
            if len(found) >= end:
                break
        page = found[query.offset : end]
        if query.with_state:
            return page
        return [replace(thread, values_json=None, interrupts_json=None) for thread in page]

    async def count(self, query: ThreadQuery) -> int:
        if not query.values:
            count: int = await self._inner.count(query)
            return count
        return len([None async for _ in self._fitting(query)])

    def _opened_relatives(self, relatives: Sequence[Relative]) -> list[Relative]:
        opened = [self._sealer.opened_relative(one) for one in relatives]
        self._ready()
        return opened

    async def _fitting(self, query: ThreadQuery) -> AsyncIterator[Thread]:
        """Yields threads whose values match. Their values have to be decrypted for the comparison."""
        async for thread in _all(lambda part: self._inner.search(part), replace(query, values=None, with_state=True)):
            [opened] = self._opened([thread])
            if opened.values_json is not None and contains(from_json(opened.values_json), query.values):
                yield opened

    def _opened(self, threads: Sequence[Thread]) -> list[Thread]:
        opened = [self._sealer.opened_thread(thread) for thread in threads]
        self._ready()
        return opened


class SealedRuns(Table):
    """`storage.runs.Runs`."""

    PLAIN = (
        "has_active",
        "busy_threads",
        "recompute_delays",
        "leases",
        "count_active_of_user",
        "run_state",
        "holds",
        "peek",
        "renew",
        "set_status",
        "requeue",
        "request_cancel",
        "delete",
        "delete_of_thread",
        "expire_outcomes",
        "delete_outcome",
        "delete_expired_outcomes",
        "ended_before",
        "queue",
        "queued",
    )

    async def insert(self, run: Run, claim: Claim | None = None) -> Run:
        stored: Run = await self._inner.insert(self._sealer.run(run), claim)
        run.order = stored.order
        return run if claim is None else self._opened([stored])[0]

    async def get(self, run_id: str) -> Run | None:
        return self._one(await self._inner.get(run_id))

    async def of_thread(
        self, thread_id: str, *, status: RunStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        return self._opened(await self._inner.of_thread(thread_id, status=status, limit=limit, offset=offset))

    async def active(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[Run]:
        return self._opened(await self._inner.active(thread_id, after=after, limit=limit))

    async def claim(
        self, worker: str, now: int, lease: int, limit: int, *, attempts: tuple[int, int | None] = (0, None)
    ) -> list[Run]:
        return self._opened(await self._inner.claim(worker, now, lease, limit, attempts=attempts))

    async def take(self, run_id: str, worker: str, now: int, lease: int) -> Run | None:
        return self._one(await self._inner.take(run_id, worker, now, lease))

    async def still_held(self, leases: Sequence[Lease]) -> list[Run]:
        return self._opened(await self._inner.still_held(leases))

    async def put_outcome(self, outcome: Outcome) -> None:
        sealed = self._sealer.outcome(outcome)
        await self._inner.put_outcome(sealed)

    async def outcome(self, run_id: str) -> Outcome | None:
        found = await self._inner.outcome(run_id)
        if found is None:
            return None
        opened = self._sealer.opened_outcome(found)
        self._ready()
        return opened

    def _one(self, run: Run | None) -> Run | None:
        return None if run is None else self._opened([run])[0]

    def _opened(self, runs: Sequence[Run]) -> list[Run]:
        opened = [self._sealer.opened_run(run) for run in runs]
        self._ready()
        return opened


class SealedDeliveries(Table):
    """`storage.deliveries.Deliveries`."""

    PLAIN = (
        "next_due",
        "note",
        "release",
        "recompute_due",
        "delete_of_run",
        "delete_of_thread",
        "delete_expired",
        "search",
        "count",
    )

    async def insert(self, delivery: Delivery) -> None:
        sealed = self._sealer.delivery(delivery)
        await self._inner.insert(sealed)

    async def get(self, delivery_id: str) -> Delivery | None:
        return self._one(await self._inner.get(delivery_id))

    async def claim(self, worker: str, now: int, until: int, limit: int, passed: Sequence[str] = ()) -> list[Delivery]:
        return self._opened(await self._inner.claim(worker, now, until, limit, passed))

    async def again(self, delivery_id: str, now: int, left: int) -> Delivery | None:
        return self._one(await self._inner.again(delivery_id, now, left))

    def _one(self, delivery: Delivery | None) -> Delivery | None:
        return None if delivery is None else self._opened([delivery])[0]

    def _opened(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        opened = [self._sealer.opened_delivery(delivery) for delivery in deliveries]
        self._ready()
        return opened


class SealedTasks(Table):
    """`storage.tasks.Tasks`."""

    PLAIN = ("count",)

    async def search(self, query: TaskQuery) -> Sequence[Task]:
        found = [replace(task, run=self._sealer.opened_run(task.run)) for task in await self._inner.search(query)]
        self._ready()
        return found


class SealedEvents(Table, StoredEvents):
    """`storage.events.Events`."""

    PLAIN = (
        "last_of_run",
        "last_channel_seq",
        "floor",
        "expire",
        "expire_log",
        "delete_of_run",
        "delete_expired",
        "trim",
    )

    async def append_rows(self, events: Sequence[Event], values: Sequence[EventValue | None]) -> list[Event]:
        sealed = [
            self._sealer.event(event) if value is None else event for event, value in zip(events, values, strict=True)
        ]
        sealed_values = [
            None if value is None else self._sealer.event_value(value, event)
            for event, value in zip(events, values, strict=True)
        ]
        for event, stored in zip(events, await self._inner.append_rows(sealed, sealed_values), strict=True):
            event.seq, event.ms, event.n = stored.seq, stored.ms, stored.n
        return list(events)

    async def rows_of_run(self, run_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        return self._opened(await self._inner.rows_of_run(run_id, after, limit, size))

    async def rows_of_thread(self, thread_id: str, after: tuple[int, int], limit: int, size: int | None) -> Page:
        return self._opened(await self._inner.rows_of_thread(thread_id, after, limit, size))

    async def rows_of_channels(
        self,
        thread_id: str,
        after: int,
        upto: int,
        methods: Sequence[str],
        run_id: str | None,
        limit: int,
        size: int | None,
    ) -> Page:
        return self._opened(await self._inner.rows_of_channels(thread_id, after, upto, methods, run_id, limit, size))

    async def values(self, ids: Sequence[int]) -> dict[int, EventValue]:
        stored = await self._inner.values(ids)
        opened = {id_: self._sealer.opened_event_value(value) for id_, value in stored.items()}
        self._ready()
        return opened

    def _opened(self, page: Page) -> Page:
        events, ids = page
        opened = [
            self._sealer.opened_event(event) if id_ is None else event for event, id_ in zip(events, ids, strict=True)
        ]
        self._ready()
        return opened, ids


class SealedAssistants(Table):
    """`storage.assistants.Assistants`."""

    PLAIN = ("lock", "delete", "count")

    async def insert(self, assistant: Assistant) -> bool:
        inserted: bool = await self._inner.insert(self._sealed(assistant))
        return inserted

    async def get(self, assistant_id: str) -> Assistant | None:
        found = await self._inner.get(assistant_id)
        return None if found is None else self._opened([found])[0]

    async def add_version(self, assistant: Assistant) -> Assistant:
        stored = await self._inner.add_version(self._sealed(assistant))
        return replace(assistant, version=stored.version)

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        found = await self._inner.versions(assistant_id, metadata=metadata, limit=limit, offset=offset)
        return self._opened(found, version=True)

    async def version(self, assistant_id: str, number: int) -> Assistant | None:
        found = await self._inner.version(assistant_id, number)
        return None if found is None else self._opened([found], version=True)[0]

    async def set_current(self, assistant: Assistant) -> None:
        await self._inner.set_current(self._sealed(assistant))

    async def restate(self, assistant: Assistant) -> None:
        await self._inner.restate(self._sealed(assistant))

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        return self._opened(await self._inner.search(query))

    def _sealed(self, assistant: Assistant) -> Assistant:
        return self._sealer.assistant(assistant)

    def _opened(self, assistants: Sequence[Assistant], *, version: bool = False) -> list[Assistant]:
        opened = [self._sealer.opened_assistant(assistant, version=version) for assistant in assistants]
        self._ready()
        return opened


class SealedCrons(Table):
    """`storage.crons.Crons`."""

    PLAIN = ("advance", "delete", "delete_of_thread", "delete_of_assistant", "count")

    async def insert(self, cron: Cron) -> None:
        await self._inner.insert(self._sealed(cron))

    async def get(self, cron_id: str) -> Cron | None:
        found = await self._inner.get(cron_id)
        return None if found is None else self._opened([found], self._sealer.opened_cron)[0]

    async def update(self, cron: Cron) -> None:
        await self._inner.update(self._sealed(cron))

    async def due(self, now: int, limit: int) -> list[Cron]:
        return self._opened(await self._inner.due(now, limit), self._sealer.readable_cron)

    async def scheduled_after(self, moment: int, *, beyond: str, limit: int) -> list[Cron]:
        found = await self._inner.scheduled_after(moment, beyond=beyond, limit=limit)
        return self._opened(found, self._sealer.readable_cron)

    async def note(self, cron_id: str, *, run_id: str | None, error: str | None) -> None:
        error = self._sealer.words("cron", "last_error", error)
        await self._inner.note(cron_id, run_id=run_id, error=error)

    async def search(self, query: CronQuery) -> list[Cron]:
        return self._opened(await self._inner.search(query), self._sealer.opened_cron)

    def _sealed(self, cron: Cron) -> Cron:
        return self._sealer.cron(cron)

    def _opened(self, crons: Sequence[Cron], opened: Callable[[Cron], Cron]) -> list[Cron]:
        found = [opened(cron) for cron in crons]
        self._ready()
        return found


async def _all(search: Callable[[Any], Any], query: Any) -> AsyncIterator[Any]:
    """Yields everything that a query finds, page by page."""
    offset = 0
    while True:
        found = await search(replace(query, limit=PAGE, offset=offset))
        for one in found:
            yield one
        if len(found) < PAGE:
            return
        offset += PAGE
