"""Applies the filters of handlers to records, and reads the values that handlers may have changed."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from threadloom.auth.user import kept
from threadloom.codec import from_json, to_json
from threadloom.encryption.cipher import UndecipherableError
from threadloom.errors import Denied, NotFound
from threadloom.storage.base import Tx
from threadloom.storage.filters import AllOf, Filter, permits
from threadloom.types import Caller, Run, Thread

log = logging.getLogger("threadloom.auth")


class Record(Protocol):
    """A record with metadata, which filters are applied to."""

    metadata: dict[str, Any]


R = TypeVar("R", bound=Record)
T = TypeVar("T")


def visible(record: R | None, rule: Filter | None) -> R | None:
    """Returns the record if it exists and the rule permits it, else None: records that are not visible are reported as absent."""
    return record if record is not None and permits(rule, record.metadata) else None


async def visible_thread(tx: Tx, thread_id: str, rule: Filter | None) -> Thread | None:
    """Returns the record of a thread without its state, or None if it does not exist or the rule does not permit it."""
    return visible(await tx.threads.get(thread_id, with_state=False), rule)


async def known_thread(tx: Tx, thread_id: str, rule: Filter | None) -> Thread:
    """Returns the record of a thread without its state. Raises NotFound where `visible_thread` returns None."""
    thread = await visible_thread(tx, thread_id, rule)
    if thread is None:
        raise NotFound(f"Thread with ID {thread_id} not found")
    return thread


async def known_run(tx: Tx, thread_id: str, run_id: str, rule: Filter | None) -> Run:
    """Returns a run of a thread. Raises NotFound if the thread is not visible, or has no such run."""
    await known_thread(tx, thread_id, rule)
    run = await tx.runs.get(run_id)
    if run is None or run.thread_id != thread_id:
        raise NotFound("Run not found")
    return run


async def any_known_run(tx: Tx, thread_id: str | None, run_ids: Sequence[str], rule: Filter | None) -> bool:
    """Returns whether one of these runs is on the thread, and the thread is visible to the caller."""
    if thread_id is None or await visible_thread(tx, thread_id, rule) is None:
        return False
    runs = [await tx.runs.get(run_id) for run_id in run_ids]
    return any(run is not None and run.thread_id == thread_id for run in runs)


@contextlib.contextmanager
def unreadable(rule: Filter | None) -> Iterator[None]:
    """Reads a record that is about to be deleted. It may fail to decrypt if there is no rule that it must match.

    Raises:
        UndecipherableError: it cannot be decrypted, and there is a rule.
    """
    try:
        yield
    except UndecipherableError:
        if rule is not None:
            raise


def and_(one: Filter | None, other: Filter | None) -> Filter | None:
    """Returns a rule that holds if both rules hold."""
    if one is None or other is None:
        return other if one is None else one
    return one if one == other else AllOf([one, other])


def handler_value(value: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """Returns an entry of the value that a handler got and may have changed.

    Raises:
        Denied: status 500; the entry is of another type.
    """
    found = value.get(name)
    if not isinstance(found, kind):
        log.error("an auth handler left value[%r] as %s, not %s", name, type(found).__name__, kind.__name__)
        raise Denied(500, f"Auth handler left an invalid value: {name}")
    return found


def handler_metadata(caller: Caller, value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metadata after the handler, as they will be read back from the storage."""
    metadata = value.get("metadata")
    if metadata is None:
        return {}
    metadata = handler_value(value, "metadata", dict)
    if caller.user is None:
        return metadata
    plain: dict[str, Any] = from_json(to_json(metadata))
    return plain


def identity_of(caller: Caller) -> dict[str, Any]:
    """Returns the entries of `configurable` that name the caller of a run or a read. They have only the stored part of the
    user.
    """
    if caller.user is None:
        return {
            "user_id": caller.user_id,
            "langgraph_auth_user": None,
            "langgraph_auth_user_id": caller.user_id,
            "langgraph_auth_permissions": [],
        }
    known = kept(caller.user)
    return {
        "user_id": known["identity"],
        "langgraph_auth_user": known,
        "langgraph_auth_user_id": known["identity"],
        "langgraph_auth_permissions": known["permissions"],
    }


def as_caller(caller: Caller) -> dict[str, Any]:
    """Returns the entries of `configurable` that name the caller, for a graph that is opened for a read; empty without a user."""
    return {**identity_of(caller), "langgraph_auth_user": caller.user} if caller.user is not None else {}
