"""What handlers' answers mean for records, and what handlers left of a request."""

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
    """Something with an owner."""

    metadata: dict[str, Any]


R = TypeVar("R", bound=Record)
T = TypeVar("T")


def visible(record: R | None, rule: Filter | None) -> R | None:
    """The record, if it is there and the rule permits it: what may not be seen is absent."""
    return record if record is not None and permits(rule, record.metadata) else None


async def visible_thread(tx: Tx, thread_id: str, rule: Filter | None) -> Thread | None:
    """The record of a thread without its state, if it is there and the rule permits it."""
    return visible(await tx.threads.get(thread_id, with_state=False), rule)


async def known_thread(tx: Tx, thread_id: str, rule: Filter | None) -> Thread:
    """The record of a thread without its state. Raises NotFound where `visible_thread` gives None."""
    thread = await visible_thread(tx, thread_id, rule)
    if thread is None:
        raise NotFound(f"Thread with ID {thread_id} not found")
    return thread


async def known_run(tx: Tx, thread_id: str, run_id: str, rule: Filter | None) -> Run:
    """A run of a thread. Raises NotFound if the thread may not be seen, or has no such run."""
    await known_thread(tx, thread_id, rule)
    run = await tx.runs.get(run_id)
    if run is None or run.thread_id != thread_id:
        raise NotFound("Run not found")
    return run


async def any_known_run(tx: Tx, thread_id: str | None, run_ids: Sequence[str], rule: Filter | None) -> bool:
    """Whether one of these runs is on the thread, as far as the caller may see it."""
    if thread_id is None or await visible_thread(tx, thread_id, rule) is None:
        return False
    runs = [await tx.runs.get(run_id) for run_id in run_ids]
    return any(run is not None and run.thread_id == thread_id for run in runs)


@contextlib.contextmanager
def unreadable(rule: Filter | None) -> Iterator[None]:
    """Looks at something that is to be deleted: it may be one that cannot be decrypted, if there is no rule that it is held to.

    Raises:
        UndecipherableError: there is.
    """
    try:
        yield
    except UndecipherableError:
        if rule is not None:
            raise


def and_(one: Filter | None, other: Filter | None) -> Filter | None:
    """The rule that holds where both do."""
    if one is None or other is None:
        return other if one is None else one
    return one if one == other else AllOf([one, other])


def handler_value(value: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """What a handler left of an entry of its value.

    Raises:
        Denied: status 500; it is of another kind.
    """
    found = value.get(name)
    if not isinstance(found, kind):
        log.error("an auth handler left value[%r] as %s, not %s", name, type(found).__name__, kind.__name__)
        raise Denied(500, f"Auth handler left an invalid value: {name}")
    return found


def handler_metadata(caller: Caller, value: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that a handler left, as it will come back from where it is stored."""
    metadata = value.get("metadata")
    if metadata is None:
        return {}
    metadata = handler_value(value, "metadata", dict)
    if caller.user is None:
        return metadata
    plain: dict[str, Any] = from_json(to_json(metadata))
    return plain


def identity_of(caller: Caller) -> dict[str, Any]:
    """What `configurable` of a run or a read says of its caller; nothing of the user but what may be stored."""
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
    """What the `configurable` of a graph that is opened for a read says of who reads; nothing without a user."""
    return {**identity_of(caller), "langgraph_auth_user": caller.user} if caller.user is not None else {}
