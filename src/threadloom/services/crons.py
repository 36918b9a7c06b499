"""Crons: kept, changed, found, and fired.

A firing is one transaction: the date moves on, the run is made, the record says so. So there is exactly one run however many
processes look, and none is lost when one dies. A firing that is refused (a busy thread, a graph that is gone) is written down
on the cron, and the date moves on all the same.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.auth.run_users import restored
from threadloom.auth.user import kept
from threadloom.clock import Clock
from threadloom.encryption.context import encryption_context
from threadloom.engine.admission import Admitted
from threadloom.error_payloads import error_payload
from threadloom.errors import ApiError, BadRequest, Invalid, NotFound, StorageError
from threadloom.ids import new_id
from threadloom.services import schedule
from threadloom.services.permission import handler_metadata, unreadable, visible, visible_thread
from threadloom.services.requests import CronCount, CronCreate, CronPatch, CronSearch, RunCreate
from threadloom.services.run_grant import AssistantResolver
from threadloom.services.run_start import RunStartService
from threadloom.storage.base import Storage, Tx
from threadloom.storage.crons import CronQuery
from threadloom.storage.filters import Filter, permits
from threadloom.types import UNREADABLE, Caller, Cron
from threadloom.usercode import text_of

log = logging.getLogger(__name__)

EMPTY = "Request body cannot be empty"
AT_ONCE = 1000
"""Crons that one look takes at most; the next look takes the rest."""

RUN_FIELDS = (
    "input",
    "config",
    "context",
    "webhook",
    "interrupt_before",
    "interrupt_after",
    "stream_mode",
    "stream_subgraphs",
    "stream_resumable",
    "durability",
    "checkpoint_during",
    "multitask_strategy",
)
"""What of a cron's payload goes into its runs."""


class CronService:
    """All that can be done with crons, and firing them.

    Args:
        guard: what callers may do. At each firing it is asked whether the cron's maker may make that run.
    """

    def __init__(
        self, storage: Storage, guard: Guard, clock: Clock, starts: RunStartService, assistants: AssistantResolver
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._starts = starts
        self._assistants = assistants

    # --- records ---

    async def create(self, caller: Caller, thread_id: str | None, request: CronCreate, body: Mapping[str, Any]) -> Cron:
        """Makes a cron, of a thread or (None) one that makes a thread a firing.

        Args:
            body: the request as it was sent; all of it is kept in `payload`.

        Raises:
            NotFound: assistant or thread unknown.
            BadRequest: the schedule never comes; context and configurable both given.
            Invalid: schedule, time zone, end or webhook cannot be.
        """
        timezone, end_time = _or(request.timezone, None), _or(request.end_time, None)
        schedule.check_schedule(request.schedule)
        _check_times(timezone, end_time)
        now = self._clock.now()
        schedule.next_date(request.schedule, timezone, now)
        cron = Cron(
            cron_id=new_id(),
            assistant_id="",
            thread_id=thread_id,
            user_id=caller.user_id or None,
            user=None if caller.user is None else kept(caller.user),
            schedule=request.schedule,
            timezone=timezone,
            end_time=end_time,
            next_run_date=schedule.following(request.schedule, timezone, end_time, now),
            metadata=_or(request.metadata, {}),
            on_run_completed=None if thread_id else _or(request.on_run_completed, "delete"),
            enabled=_or(request.enabled, True),
            created_at=now,
            updated_at=now,
        )
        cron.payload = _payload({}, body, cron.cron_id)
        await self._starts.check(thread_id, _run_request(cron))
        value = {
            "payload": dict(body),
            "schedule": cron.schedule,
            "cron_id": cron.cron_id,
            "thread_id": thread_id,
            "user_id": cron.user_id,
            "end_time": end_time,
            "metadata": dict(cron.metadata),
        }
        await self._guard.ask(caller, "crons", "create", value)
        cron.metadata = handler_metadata(caller, value)
        of_thread = None
        if thread_id is not None:
            about = {"thread_id": thread_id, "metadata": dict(cron.metadata)}
            of_thread = await self._guard.ask(caller, "threads", "read", about)
        of_assistant = await self._may_run(caller, request.assistant_id)

        async def work(tx: Tx) -> Cron:
            if thread_id is not None and await visible_thread(tx, thread_id, of_thread) is None:
                raise NotFound(f"Thread with ID {thread_id} not found")
            try:
                assistant = await self._assistants.resolve(tx, request.assistant_id)
            except (NotFound, Invalid):
                raise NotFound(f"Assistant '{request.assistant_id}' not found") from None
            if not permits(of_assistant, assistant.metadata):
                raise NotFound(f"Assistant '{request.assistant_id}' not found")
            cron.assistant_id = cron.payload["assistant_id"] = assistant.assistant_id
            await tx.crons.insert(cron)
            return cron

        return await self._storage.write(work)

    async def get(self, caller: Caller, cron_id: str) -> Cron:
        """One cron.

        Raises:
            NotFound: there is none.
        """
        rule = await self._guard.ask(caller, "crons", "read", {"cron_id": cron_id})
        return self._shown(await self._storage.read(lambda tx: _existing(tx, cron_id, rule)))

    async def patch(self, caller: Caller, cron_id: str, request: CronPatch, body: Mapping[str, Any]) -> Cron:
        """Changes what is given; metadata is merged at the top level, assistant and thread never change.

        Args:
            body: the request as it was sent; it goes over the old `payload` key by key.

        Raises:
            NotFound: there is none.
            BadRequest: the body is empty, the new schedule never comes, context and configurable would both be there.
            Invalid: schedule, time zone, end or webhook cannot be.
        """
        if not body:
            raise BadRequest(EMPTY)
        if request.schedule is not UNSET:
            schedule.check_schedule(request.schedule)
        _check_times(_or(request.timezone, None), _or(request.end_time, None))
        now = self._clock.now()
        value = {
            "cron_id": cron_id,
            "schedule": _or(request.schedule, None),
            "end_time": _or(request.end_time, None),
            "enabled": _or(request.enabled, None),
            "on_run_completed": _or(request.on_run_completed, None),
            "payload": dict(body),
            **({} if request.metadata is UNSET else {"metadata": dict(request.metadata or {})}),
        }
        rule = await self._guard.ask(caller, "crons", "update", value)
        request = msgspec.structs.replace(request, metadata=handler_metadata(caller, value))
        found = await self._storage.read(lambda tx: _existing(tx, cron_id, rule))
        await self._starts.check(found.thread_id, _run_request(_patched(found, request, body, now)))

        async def work(tx: Tx) -> Cron:
            changed = _patched(await _existing(tx, cron_id, rule), request, body, now)
            await tx.crons.update(changed)
            return changed

        return self._shown(await self._storage.write(work))

    async def delete(self, caller: Caller, cron_id: str) -> None:
        """Removes a cron; runs and threads that it made stay.

        Raises:
            NotFound: there is none.
        """
        rule = await self._guard.ask(caller, "crons", "delete", {"cron_id": cron_id})

        async def work(tx: Tx) -> None:
            with unreadable(rule):
                await _existing(tx, cron_id, rule)
            await tx.crons.delete(cron_id)

        await self._storage.write(work)

    async def search(self, caller: Caller, request: CronSearch) -> tuple[list[Cron], int | None, int]:
        """A page of crons, the offset of the next page (None on the last) and how many there are in all.

        Raises:
            Invalid: the assistant named is neither an id nor a graph.
        """
        query = await self._query(caller, request, limit=request.limit, offset=request.offset)
        query.limit, query.offset = request.limit, request.offset
        query.sort_by, query.descending = request.sort_by, request.sort_order == "desc"

        async def work(tx: Tx) -> tuple[list[Cron], int]:
            return await tx.crons.search(query), await tx.crons.count(query)

        found, total = await self._storage.read(work)
        following = request.offset + len(found)
        return [self._shown(cron) for cron in found], following if found and following < total else None, total

    async def count(self, caller: Caller, request: CronCount) -> int:
        """How many crons the filters leave. Raises as `search`."""
        query = await self._query(caller, request, limit=0, offset=0)
        return await self._storage.read(lambda tx: tx.crons.count(query))

    async def _query(self, caller: Caller, request: CronCount, *, limit: int, offset: int) -> CronQuery:
        """What a search means for its caller."""
        assistant_id = None if request.assistant_id is UNSET else self._assistants.id_of(request.assistant_id)
        value = {
            "assistant_id": assistant_id,
            "thread_id": _or(request.thread_id, None),
            "limit": limit,
            "offset": offset,
            "metadata": dict(_or(request.metadata, None) or {}),
        }
        where = await self._guard.ask(caller, "crons", "search", value)
        return CronQuery(
            where=where,
            threads=await self._guard.ask(caller, "threads", "search", {}),
            assistant_id=assistant_id,
            thread_id=_or(request.thread_id, None),
            enabled=_or(request.enabled, None),
            metadata=handler_metadata(caller, value) or None,
        )

    async def _may_run(self, caller: Caller, name: str) -> Filter | None:
        """Which assistant the caller may run; every caller may run a graph's own."""
        try:
            assistant_id = self._assistants.id_of(name)
        except Invalid:
            return None  # it is told that there is none
        if self._assistants.is_own(assistant_id):
            return None
        return await self._guard.ask(caller, "assistants", "read", {"assistant_id": assistant_id})

    def _shown(self, cron: Cron) -> Cron:
        """A cron past its end shows no next date, whatever is still written there."""
        if cron.next_run_date is not None and schedule.has_ended(cron.end_time, self._clock.now()):
            cron.next_run_date = None
        return cron

    # --- firing ---

    async def tick(self) -> int:
        """Fires all crons that are due now. Gives how many runs were made."""
        now = self._clock.now()
        due = await self._storage.read(lambda tx: tx.crons.due(now, AT_ONCE))
        fired = 0
        for cron in due:
            fired += await self._fire(cron, now)
        return fired

    async def set_back(self, now: int, ahead: int) -> None:
        """Reckons the dates of crons anew after the clock was set back: those that were reckoned more than `ahead` after now."""
        beyond = ""
        while True:
            found = await self._storage.read(
                lambda tx: tx.crons.scheduled_after(now + ahead, beyond=beyond, limit=AT_ONCE)  # noqa: B023
            )
            for cron in found:
                expected, beyond = cron.next_run_date, cron.cron_id
                date = schedule.set_back(cron.schedule, cron.timezone, cron.end_time, cron.last_fired_at, now)
                if expected is not None and date is not None and date < expected:
                    await self._storage.write(
                        lambda tx: tx.crons.advance(cron.cron_id, expected=expected, following=date)  # noqa: B023
                    )
            if len(found) < AT_ONCE:
                return

    async def _fire(self, cron: Cron, now: int) -> bool:
        """Makes one run of a due cron and moves its date on from now. False: no run was made, or another process did."""
        expected = cron.next_run_date
        assert expected is not None
        if schedule.has_ended(cron.end_time, now):
            await self._storage.write(lambda tx: tx.crons.advance(cron.cron_id, expected=expected, following=None))
            return False
        following = schedule.following(cron.schedule, cron.timezone, cron.end_time, now)
        caller = _maker(cron)
        try:
            if UNREADABLE in cron.payload:
                raise ApiError(cron.payload[UNREADABLE])
            prepared = await self._starts.prepare(caller, cron.thread_id, _run_request(cron), cron_id=cron.cron_id)

            async def work(tx: Tx) -> Admitted | None:
                if not await tx.crons.advance(cron.cron_id, expected=expected, following=following, fired_at=now):
                    return None
                admitted = await self._starts.admit(tx, prepared)
                await tx.crons.note(cron.cron_id, run_id=admitted.run.run_id, error=None)
                return admitted

            with encryption_context(cron.encryption_context):
                admitted = await self._storage.write(work)
        except (StorageError, asyncio.CancelledError):
            raise  # nothing was written: it is still due
        except Exception as error:
            await self._failed(cron, expected, following, now, error)
            return False
        if admitted is None:
            return False
        self._starts.admitted(admitted)
        return True

    async def _failed(self, cron: Cron, expected: int, following: int | None, now: int, error: Exception) -> None:
        """Writes down why a firing made no run, and lets it go."""
        text = error.detail if isinstance(error, ApiError) else f"{error_payload(error)['error']}: {text_of(error)}"
        log.warning(
            "Cron %s made no run: %s", cron.cron_id, text, exc_info=None if isinstance(error, ApiError) else error
        )

        async def work(tx: Tx) -> None:
            if await tx.crons.advance(cron.cron_id, expected=expected, following=following, fired_at=now):
                await tx.crons.note(cron.cron_id, run_id=None, error=text)

        await self._storage.write(work)


class CronSettings(Protocol):
    """What is needed of the settings."""

    @property
    def cron_scheduler_sleep_time(self) -> float:
        """Seconds between two looks."""
        ...

    @property
    def ff_crons_enabled(self) -> bool:
        """Whether crons fire at all."""
        ...


async def fire_forever(crons: Callable[[], CronService], clock: Clock, settings: CronSettings) -> None:
    """The scheduler: fires what comes due, looking every `CRON_SCHEDULER_SLEEP_TIME` seconds, until it is cancelled.

    The first look is at once: it makes up, by one firing, for those that a cron missed while no server ran.

    Args:
        crons: gives the service that serves now.
    """
    if not settings.ff_crons_enabled:
        return
    while True:
        try:
            await crons().tick()
        except Exception:
            log.exception("Crons could not be looked at; trying again")
        await clock.sleep(settings.cron_scheduler_sleep_time)


def _maker(cron: Cron) -> Caller:
    """For whom a cron makes its runs: its maker, as far as one is known, else the server itself."""
    request_id = str(uuid.uuid4())
    if cron.user is None:
        return Caller(request_id=request_id, user_id=cron.user_id or "", trusted=True)
    user = restored(cron.user)
    return Caller(request_id=request_id, user_id=cron.user_id or "", user=user, permissions=user.permissions)


async def _existing(tx: Tx, cron_id: str, rule: Filter | None) -> Cron:
    found = visible(await tx.crons.get(cron_id), rule)
    if found is None:
        raise NotFound("Not Found")
    return found


def _or(value: Any, otherwise: Any) -> Any:
    """A field of a request, or what stands for it when it was not sent."""
    return otherwise if value is UNSET else value


def _check_times(timezone: str | None, end_time: str | None) -> None:
    if timezone is not None:
        schedule.check_timezone(timezone)
    if end_time is not None:
        schedule.check_end_time(end_time)


def _payload(old: Mapping[str, Any], body: Mapping[str, Any], cron_id: str) -> dict[str, Any]:
    """The old payload with a body over it. `config.configurable.cron_id` is always the cron's own id."""
    payload = {**old, **body}
    config = dict(payload.get("config") or {})
    config["configurable"] = {**config.get("configurable", {}), "cron_id": cron_id}
    payload["config"] = config
    return payload


def _patched(found: Cron, request: CronPatch, body: Mapping[str, Any], now: int) -> Cron:
    """A cron after a patch. Raises BadRequest when the new schedule never comes."""
    said = {key: value for key, value in body.items() if key not in ("assistant_id", "thread_id")}
    cron = msgspec.structs.replace(
        found,
        schedule=_or(request.schedule, found.schedule),
        timezone=_or(request.timezone, found.timezone),
        end_time=_or(request.end_time, found.end_time),
        metadata={**found.metadata, **_or(request.metadata, {})},
        on_run_completed=_or(request.on_run_completed, found.on_run_completed) if found.thread_id is None else None,
        enabled=_or(request.enabled, found.enabled),
        payload=_payload(found.payload, said, found.cron_id),
        updated_at=max(now, found.updated_at + 1),
    )
    if request.schedule is not UNSET or request.timezone is not UNSET:
        schedule.next_date(cron.schedule, cron.timezone, now)
        cron.next_run_date = schedule.following(cron.schedule, cron.timezone, cron.end_time, now)
    elif request.end_time is not UNSET and (
        found.next_run_date is None or schedule.has_ended(cron.end_time, found.next_run_date)
    ):
        cron.next_run_date = schedule.following(cron.schedule, cron.timezone, cron.end_time, now)
    return cron


def _run_request(cron: Cron) -> RunCreate:
    """The request for a run that a cron's payload stands for.

    The cron's id is in the metadata, so that its runs and threads can be searched for. It is kept out of `configurable` here,
    because what stands there becomes the graph's context.
    """
    fields = {key: cron.payload[key] for key in RUN_FIELDS if cron.payload.get(key) is not None}
    config = dict(fields.get("config", {}))
    configurable = {key: value for key, value in config.pop("configurable", {}).items() if key != "cron_id"}
    if configurable:
        config["configurable"] = configurable
    return msgspec.convert(
        {
            **fields,
            "assistant_id": cron.assistant_id,
            "config": config,
            "metadata": {**cron.metadata, "cron_id": cron.cron_id},
            "on_completion": cron.on_run_completed or "keep",
        },
        RunCreate,
    )
