"""Records as clients see them (contract, threads §2, runs §2, assistants and crons)."""

from collections.abc import Sequence
from typing import Any

from threadloom.clock import iso
from threadloom.codec import Fragment
from threadloom.errors import ApiError
from threadloom.types import Assistant, Cron, Run, Thread, Ttl

SERVER_KEYS = ("thread_id", "run_id", "assistant_id")
"""Keys of metadata that only the server writes; what a client puts there is dropped."""


def thread_record(thread: Thread, *, with_ttl: bool = False) -> dict[str, Any]:
    """The record, ready for `codec.to_json`; `ttl` is in it only when asked for and set."""
    record: dict[str, Any] = {
        "thread_id": thread.thread_id,
        "created_at": iso(thread.created_at),
        "updated_at": iso(thread.updated_at),
        "state_updated_at": iso(thread.state_updated_at),
        "metadata": thread.metadata,
        "status": thread.status,
        "config": thread.config,
        "values": None if thread.values_json is None else Fragment(thread.values_json),
        "interrupts": {} if thread.interrupts_json is None else Fragment(thread.interrupts_json),
        "error": thread.error,
    }
    if thread.forked_from is not None:
        fork = thread.forked_from
        record["forked_from"] = {"thread_id": fork.thread_id, "checkpoint_id": fork.checkpoint_id, "at": iso(fork.at)}
    if with_ttl and thread.ttl is not None:
        record["ttl"] = ttl_record(thread.ttl)
    return record


def run_record(run: Run) -> dict[str, Any]:
    """A run, ready for `codec.to_json`.

    Raises:
        ApiError: it cannot be decrypted.
    """
    if run.unreadable:
        raise ApiError(run.unreadable)
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "metadata": run.metadata,
        "status": run.status,
        "kwargs": run.shown_kwargs,
        "multitask_strategy": run.multitask_strategy,
        "created_at": iso(run.created_at),
        "updated_at": iso(run.updated_at),
        "langsmith_session_name": None,
    }


def assistant_record(assistant: Assistant) -> dict[str, Any]:
    """An assistant, ready for `codec.to_json`."""
    return assistant_version_record(assistant) | {"updated_at": iso(assistant.updated_at)}


def assistant_version_record(assistant: Assistant) -> dict[str, Any]:
    """One version of an assistant; `created_at` is when the version was made."""
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


def cron_record(cron: Cron) -> dict[str, Any]:
    """A cron, with the result of its latest firing, ready for `codec.to_json`."""
    return {
        "cron_id": cron.cron_id,
        "assistant_id": cron.assistant_id,
        "thread_id": cron.thread_id,
        "user_id": cron.user_id or "",
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "end_time": cron.end_time,
        "payload": cron.payload,
        "next_run_date": None if cron.next_run_date is None else iso(cron.next_run_date),
        "metadata": cron.metadata,
        "on_run_completed": cron.on_run_completed,
        "enabled": cron.enabled,
        "created_at": iso(cron.created_at),
        "updated_at": iso(cron.updated_at),
        "last_fired_at": None if cron.last_fired_at is None else iso(cron.last_fired_at),
        "last_run_id": cron.last_run_id,
        "last_error": cron.last_error,
    }


def select_fields(record: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The selected fields of a record, in the order of `fields`; all of them when none is named.

    Args:
        fields: names that the request was checked for; each is a key of the record.
    """
    return {name: record[name] for name in dict.fromkeys(fields)} if fields else record


def ttl_record(ttl: Ttl) -> dict[str, Any]:
    """A time to live as `?include=ttl` shows it."""
    return {"strategy": ttl.strategy, "ttl_minutes": ttl.minutes, "expires_at": iso(ttl.expires_at)}


def users_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """What a client sent as metadata, without the keys that only the server writes."""
    return {key: value for key, value in metadata.items() if key not in SERVER_KEYS}
