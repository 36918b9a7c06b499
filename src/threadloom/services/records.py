"""Converts records to responses (docs/contract/threads.md#the-thread-record, docs/contract/runs.md#the-run-object)."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from threadloom.clock import iso
from threadloom.codec import Fragment, ResponseBody
from threadloom.errors import ApiError
from threadloom.services.responses import (
    AssistantResponse,
    AssistantVersionResponse,
    CronResponse,
    CutResponse,
    ForkedFromResponse,
    MovedResponse,
    RunResponse,
    ThreadResponse,
    TtlResponse,
)
from threadloom.storage.lineage import Moved
from threadloom.types import Assistant, Cron, Run, Thread, Ttl

COPIED_STATES = 10_000_000
"""Bytes of values and interrupts in the answer to a request for many copies."""

SERVER_KEYS = ("thread_id", "run_id", "assistant_id")
"""Keys of metadata that only the server sets. Those that a client sends are dropped."""


def thread_record(
    thread: Thread,
    *,
    with_ttl: bool = False,
    extracted: dict[str, Any] | None = None,
    cut: CutResponse | UnsetType = UNSET,
    moved: Moved | None = None,
) -> ThreadResponse:
    """Converts a thread. `ttl` is left out unless `with_ttl` is true and the thread has one.

    Args:
        extracted: the extracted values of a search.
        cut: where the thread ends, in the answer to the request that copied it.
        moved: from where to where its head was just moved.
    """
    fork = thread.forked_from
    interrupts: Any = {} if thread.interrupts_json is None else Fragment(thread.interrupts_json)
    return ThreadResponse(
        thread_id=thread.thread_id,
        created_at=iso(thread.created_at),
        updated_at=iso(thread.updated_at),
        state_updated_at=iso(thread.state_updated_at),
        metadata=thread.metadata,
        status=thread.status,
        config=thread.config,
        values=None if thread.values_json is None else Fragment(thread.values_json),
        interrupts=interrupts,
        error=thread.error,
        forked_from=UNSET
        if fork is None
        else ForkedFromResponse(thread_id=fork.thread_id, checkpoint_id=fork.checkpoint_id, at=iso(fork.at)),
        root_thread_id=UNSET if fork is None else thread.root_thread_id,
        moved=UNSET if moved is None else MovedResponse(from_=moved.before, to=moved.after),
        ttl=UNSET if thread.ttl is None or not with_ttl else _ttl_record(thread.ttl),
        extracted=UNSET if extracted is None else extracted,
        cut=cut,
    )


def copy_records(threads: Sequence[Thread], cut: CutResponse | UnsetType) -> list[ThreadResponse | dict[str, Any]]:
    """Converts copies of a thread, which all show the same state. If all together are larger than `COPIED_STATES`, they are
    without `values` and `interrupts`.
    """
    records = [thread_record(thread, cut=cut) for thread in threads]
    state = sum(len(json or b"") for json in (threads[0].values_json, threads[0].interrupts_json))
    if len(records) == 1 or len(records) * state <= COPIED_STATES:
        return list(records)
    return [
        {name: value for name, value in record.fields().items() if name not in ("values", "interrupts")}
        for record in records
    ]


def run_record(run: Run) -> RunResponse:
    """Converts a run.

    Raises:
        ApiError: the run cannot be decrypted.
    """
    if run.unreadable:
        raise ApiError(run.unreadable)
    return RunResponse(
        run_id=run.run_id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        metadata=run.metadata,
        status=run.status,
        kwargs=run.shown_kwargs,
        multitask_strategy=run.multitask_strategy,
        created_at=iso(run.created_at),
        updated_at=iso(run.updated_at),
        langsmith_session_name=None,
    )


def assistant_record(assistant: Assistant) -> AssistantResponse:
    """Converts an assistant in its current version."""
    return AssistantResponse(**_version(assistant), updated_at=iso(assistant.updated_at))


def assistant_version_record(assistant: Assistant) -> AssistantVersionResponse:
    """Converts a version of an assistant. `created_at` is the moment of the version."""
    return AssistantVersionResponse(**_version(assistant))


def _version(assistant: Assistant) -> dict[str, Any]:
    return {
        "assistant_id": assistant.assistant_id,
        "graph_id": assistant.graph_id,
        "config": assistant.config,
        "context": assistant.context,
        "metadata": assistant.metadata,
        "name": assistant.name,
        "description": assistant.description,
        "version": assistant.version,
        "created_at": iso(assistant.created_at),
    }


def cron_record(cron: Cron) -> CronResponse:
    """Converts a cron, with the result of its latest firing."""
    return CronResponse(
        cron_id=cron.cron_id,
        assistant_id=cron.assistant_id,
        thread_id=cron.thread_id,
        user_id=cron.user_id or "",
        schedule=cron.schedule,
        timezone=cron.timezone,
        end_time=cron.end_time,
        payload=cron.payload,
        next_run_date=None if cron.next_run_date is None else iso(cron.next_run_date),
        metadata=cron.metadata,
        on_run_completed=cron.on_run_completed,
        enabled=cron.enabled,
        created_at=iso(cron.created_at),
        updated_at=iso(cron.updated_at),
        last_fired_at=None if cron.last_fired_at is None else iso(cron.last_fired_at),
        last_run_id=cron.last_run_id,
        last_error=cron.last_error,
    )


def select_fields(record: ResponseBody, fields: Sequence[str]) -> ResponseBody | dict[str, Any]:
    """Returns the selected fields of a record, in the order of `fields`; all fields if `fields` is empty. Fields that the record
    lacks are left out.

    Args:
        fields: validated names of fields.
    """
    if not fields:
        return record
    return {name: value for name in dict.fromkeys(fields) if (value := getattr(record, name)) is not UNSET}


def _ttl_record(ttl: Ttl) -> TtlResponse:
    return TtlResponse(strategy=ttl.strategy, ttl_minutes=ttl.minutes, expires_at=iso(ttl.expires_at))


def users_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns the metadata that a client sent, without the keys that only the server sets."""
    return {key: value for key, value in metadata.items() if key not in SERVER_KEYS}
