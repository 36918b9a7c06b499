"""Records of threads and runs as clients see them.

See docs/contract/threads.md#the-thread-record, docs/contract/runs.md#the-run-object.
"""

from typing import Any

from threadloom.clock import iso
from threadloom.codec import Fragment
from threadloom.errors import ApiError
from threadloom.types import Run, Thread, Ttl

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


def ttl_record(ttl: Ttl) -> dict[str, Any]:
    """A time to live as `?include=ttl` shows it."""
    return {"strategy": ttl.strategy, "ttl_minutes": ttl.minutes, "expires_at": iso(ttl.expires_at)}


def users_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """What a client sent as metadata, without the keys that only the server writes."""
    return {key: value for key, value in metadata.items() if key not in SERVER_KEYS}
