"""Crons: create, read, update, delete and search them, and fire them.

A firing is one transaction: it advances the next date, creates the run, and updates the cron's record. So there is exactly one
run however many processes fire crons, and none is lost if a process dies. If a firing is refused (a busy thread, a graph that no
longer exists), the error is stored on the cron, and the date is advanced all the same.
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
"""Crons that are read at once. The rest are read in the next round."""

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
"""The fields of a cron's payload that are copied to its runs."""


class CronService:
    """Operations on crons, and firing them.

    Args:
        guard: authorizes callers. At each firing it authorizes the run for the user who made the cron.
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
        """Creates a cron for a thread; with `thread_id` None, one that creates a thread at each firing.

        Args:
            body: the request as it was sent; all of it is stored in `payload`.

        Raises:
            NotFound: assistant or thread unknown.
            BadRequest: the schedule has no date; context and configurable are both given.
            Invalid: schedule, time zone, end or webhook is not valid.
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
        """Returns a cron.

        Raises:
            NotFound: there is no such cron.
        """
        rule = await self._guard.ask(caller, "crons", "read", {"cron_id": cron_id})
        return self._shown(await self._storage.read(lambda tx: _existing(tx, cron_id, rule)))

    async def patch(self, caller: Caller, cron_id: str, request: CronPatch, body: Mapping[str, Any]) -> Cron:
        """Updates the given fields. Metadata is merged at the top level; assistant and thread never change.

        Args:
            body: the request as it was sent; it is merged into the old `payload` key by key.

        Raises:
            NotFound: there is no such cron.
            BadRequest: the body is empty, the new schedule has no date, or both context and configurable would be set.
            Invalid: schedule, time zone, end or webhook is not valid.
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
        """Deletes a cron. The runs and threads that it created are kept.

        Raises:
            NotFound: there is no such cron.
        """
        rule = await self._guard.ask(caller, "crons", "delete", {"cron_id": cron_id})

        async def work(tx: Tx) -> None:
            with unreadable(rule):
                await _existing(tx, cron_id, rule)
            await tx.crons.delete(cron_id)

        await self._storage.write(work)

    async def search(self, caller: Caller, request: CronSearch) -> tuple[list[Cron], int | None, int]:
        """Returns a page of crons, the offset of the next page (None on the last), and the total number.

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
        """Returns how many crons match the filters. Raises as `search`."""
        query = await self._query(caller, request, limit=0, offset=0)
        return await self._storage.read(lambda tx: tx.crons.count(query))

    async def _query(self, caller: Caller, request: CronCount, *, limit: int, offset: int) -> CronQuery:
        """Builds the query of a search for its caller."""
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
        """Returns the filter for the assistant that the caller may run. Every caller may run a default assistant."""
        try:
            assistant_id = self._assistants.id_of(name)
        except Invalid:
            return None  # `admit` raises NotFound for it
        if self._assistants.is_own(assistant_id):
            return None
        return await self._guard.ask(caller, "assistants", "read", {"assistant_id": assistant_id})

    def _shown(self, cron: Cron) -> Cron:
        """Returns a cron as clients see it: after its end it has no next date, whatever is stored."""
        if cron.next_run_date is not None and schedule.has_ended(cron.end_time, self._clock.now()):
            cron.next_run_date = None
        return cron

    # --- firing ---

    async def tick(self) -> int:
        """Fires all crons that are due now. Returns how many runs were created."""
        now = self._clock.now()
        due = await self._storage.read(lambda tx: tx.crons.due(now, AT_ONCE))
        fired = 0
        for cron in due:
            fired += await self._fire(cron, now)
        return fired

    async def set_back(self, now: int, ahead: int) -> None:
        """Recomputes the next dates of crons after the clock was set back: those that are more than `ahead` after now."""
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
        """Creates one run of a due cron and advances its date from now. Returns False if no run was created, or another process
        fired it.
        """
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
            raise  # nothing was stored: the cron is still due
        except Exception as error:
            await self._failed(cron, expected, following, now, error)
            return False
        if admitted is None:
            return False
        self._starts.admitted(admitted)
        return True

    async def _failed(self, cron: Cron, expected: int, following: int | None, now: int, error: Exception) -> None:
        """Stores why a firing created no run, and advances the date."""
        text = error.detail if isinstance(error, ApiError) else f"{error_payload(error)['error']}: {text_of(error)}"
        log.warning(
            "Cron %s made no run: %s", cron.cron_id, text, exc_info=None if isinstance(error, ApiError) else error
        )

        async def work(tx: Tx) -> None:
            if await tx.crons.advance(cron.cron_id, expected=expected, following=following, fired_at=now):
                await tx.crons.note(cron.cron_id, run_id=None, error=text)

        await self._storage.write(work)


class CronSettings(Protocol):
    """The settings that the scheduler needs."""

    @property
    def cron_scheduler_sleep_time(self) -> float:
        """Seconds between two rounds."""
        ...

    @property
    def ff_crons_enabled(self) -> bool:
        """Whether crons are fired at all."""
        ...


async def fire_forever(crons: Callable[[], CronService], clock: Clock, settings: CronSettings) -> None:
    """The scheduler. Fires due crons every `CRON_SCHEDULER_SLEEP_TIME` seconds until it is cancelled.

    The first round is at once. It fires a cron once for all the dates that it missed while no server ran.

    Args:
        crons: returns the current cron service.
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
    """Returns the caller for a cron's runs: the user who made the cron, or the server itself if no user is known."""
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
    """Returns a field of a request, or the substitute if it was not sent."""
    return otherwise if value is UNSET else value


def _check_times(timezone: str | None, end_time: str | None) -> None:
    if timezone is not None:
        schedule.check_timezone(timezone)
    if end_time is not None:
        schedule.check_end_time(end_time)


def _payload(old: Mapping[str, Any], body: Mapping[str, Any], cron_id: str) -> dict[str, Any]:
    """Returns the old payload, updated with a body. `config.configurable.cron_id` is always the cron's own id."""
    payload = {**old, **body}
    config = dict(payload.get("config") or {})
    config["configurable"] = {**config.get("configurable", {}), "cron_id": cron_id}
    payload["config"] = config
    return payload


def _patched(found: Cron, request: CronPatch, body: Mapping[str, Any], now: int) -> Cron:
    """Returns a cron after a patch. Raises BadRequest if the new schedule has no date."""
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
    """Returns the request for a run from a cron's payload.

    The metadata has the cron's id, so that its runs and threads can be searched for. `configurable` does not have it, because its
    entries become the graph's context.
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
