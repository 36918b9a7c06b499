"""Creates runs from requests: merges the config, context and metadata of assistant, thread and request.

See docs/contract/runs.md#the-run-object, docs/contract/runs.md#config-context-metadata.
"""

from collections.abc import Collection, Mapping
from copy import copy
from typing import Any

from msgspec import UNSET

from threadloom.clock import SECOND, Clock
from threadloom.errors import BadRequest, Invalid
from threadloom.ids import new_id
from threadloom.services.permission import identity_of
from threadloom.services.requests import RunCreate, is_tag_name
from threadloom.services.requests.common import is_inner
from threadloom.services.tags import checkpoint_named
from threadloom.storage.base import Tx
from threadloom.types import Assistant, Caller, Run, Thread, Ttl

NO_THREAD = "Thread or assistant not found."
BOTH = (
    "Cannot specify both configurable and context. Prefer setting context alone. "
    "Context was introduced in LangGraph 0.6.0 and is the long term planned replacement for configurable."
)


IDENTITY = ("user_id", "langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions")
"""Entries of `configurable` that name the user of a run. With auth, only the server sets them."""

CHECKPOINT_KEYS = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
"""Entries of `configurable` that name the checkpoint at which a run starts. Only the run's own request may set them."""

SERVERS = (
    "run_id",
    "thread_id",
    "graph_id",
    "assistant_id",
    *IDENTITY,
    "langgraph_request_id",
    "__request_start_time_ms__",
    "__after_seconds__",
)
"""Entries of `configurable` that only the server sets."""


def check_context(request: RunCreate) -> None:
    """Refuses a request that has both context and configurable.

    Raises:
        BadRequest: `config.configurable` and `context` are both non-empty.
    """
    if request.context and request.config.get("configurable"):
        raise BadRequest(BOTH)


def check_stateless(request: RunCreate) -> None:
    """Refuses what has no meaning for a stateless run: an answer, because its new thread has no questions, and unknown values of
    `on_completion`.

    Raises:
        BadRequest: the command has an answer.
        Invalid: `on_completion` is neither `delete` nor `keep`.
    """
    if request.on_completion not in ("delete", "keep"):
        raise Invalid(f"on_completion: {request.on_completion!r} is neither 'delete' nor 'keep'")
    if request.command and request.command.get("resume") is not None:
        raise BadRequest("You must provide a thread_id when resuming.")


def new_run(
    request: RunCreate,
    *,
    caller: Caller,
    assistant: Assistant,
    thread: Thread,
    clock: Clock,
    temporary: bool,
    run_id: str | None = None,
) -> Run:
    """Returns the run of a request, ready to be admitted.

    Args:
        thread: the thread of the run; its metadata is merged into the run's.
        temporary: whether the thread is discarded when the run ends.
        run_id: the id of the run, if it is known already.
    """
    now = clock.now()
    run_id = run_id or new_id()
    given = request.config
    after = request.after_seconds
    metadata = {
        "created_by": "system",
        **assistant.metadata,
        **thread.metadata,
        **given.get("metadata", {}),
        **request.metadata,
        "graph_id": assistant.graph_id,
        "assistant_id": assistant.assistant_id,
    }
    metadata = _unclaimed(metadata)
    said = request.context or given.get("configurable") or {}
    identity = identity_of(caller)
    if caller.user is None:
        del identity["user_id"]  # without auth the request may set it
    ours = {*CHECKPOINT_KEYS, "thread_id", *IDENTITY[1:]}
    context = {
        **_without(assistant.context, {*CHECKPOINT_KEYS, *IDENTITY[1:]}),
        **_without(said, ours if request.context else {*ours, *identity}),
    }
    configurable = {
        "user_id": caller.user_id,
        **_without(caller.headers, CHECKPOINT_KEYS),
        **_without(assistant.config.get("configurable", {}), CHECKPOINT_KEYS),
        **context,
        **_checkpoint_fields(request),
        "run_id": run_id,
        "thread_id": thread.thread_id,
        "graph_id": assistant.graph_id,
        "assistant_id": assistant.assistant_id,
        **identity,
        "langgraph_request_id": caller.request_id,
        "__request_start_time_ms__": now // 1000,
        "__after_seconds__": after,
    }
    if request.langsmith_tracer is not UNSET:
        configurable["__langsmith_project__"] = request.langsmith_tracer.get("project_name")
        configurable["__langsmith_example_id__"] = request.langsmith_tracer.get("example_id")
    config = {**assistant.config, **given, "configurable": configurable, "metadata": metadata}
    kwargs: dict[str, Any] = {
        "input": None if request.command else request.input,
        "command": request.command or None,
        "config": config,
        "context": context,
        "stream_mode": request.stream_mode,
        "interrupt_before": _given(request.interrupt_before),
        "interrupt_after": _given(request.interrupt_after),
        "webhook": _given(request.webhook),
        "feedback_keys": _given(request.feedback_keys),
        "temporary": temporary,
        "subgraphs": request.stream_subgraphs,
        "resumable": request.stream_resumable,
        "checkpoint_during": True,
        "durability": _durability(request),
    }
    if request.strict_resume:
        kwargs["strict_resume"] = True
    if caller.trace:
        kwargs["traceparent"] = caller.trace
    return Run(
        run_id=run_id,
        thread_id=thread.thread_id,
        assistant_id=assistant.assistant_id,
        status="pending",
        created_at=now,
        updated_at=now,
        metadata=metadata,
        kwargs=kwargs,
        multitask_strategy=request.multitask_strategy,
        user_id=caller.user_id,
        due=now + int(max(0.0, after) * SECOND),
    )


def new_thread(
    thread_id: str, request: RunCreate, assistant: Assistant, now: int, *, priority: int | None, ttl: Ttl | None
) -> Thread:
    """Returns the record of the thread that a run creates."""
    return Thread(
        thread_id=thread_id,
        created_at=now,
        updated_at=now,
        state_updated_at=now,
        metadata=new_thread_metadata(request, assistant),
        priority=priority,
        ttl=ttl,
    )


def new_thread_metadata(request: RunCreate, assistant: Assistant) -> dict[str, Any]:
    """Returns the metadata of a thread that a run creates. Those in the run's config are not included: handlers do not get
    them.
    """
    return {**_unclaimed(request.metadata), "graph_id": assistant.graph_id, "assistant_id": assistant.assistant_id}


def _without(said: Mapping[str, Any], ours: Collection[str]) -> dict[str, Any]:
    """Returns the entries of a `configurable` without those that only the server, or another field of the request, sets."""
    return {key: value for key, value in said.items() if key not in ours and not is_inner(key)}


def _unclaimed(metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns the metadata without the ids that only the server sets, as in `threads.create`."""
    return {key: value for key, value in metadata.items() if key not in ("thread_id", "run_id")}


async def tie(tx: Tx, thread: Thread, request: RunCreate, assistant: Assistant) -> None:
    """Stores graph, assistant and config of the newest run in the thread's record, so that the state can be read while the run
    executes.
    """
    metadata = {**thread.metadata, "graph_id": assistant.graph_id, "assistant_id": assistant.assistant_id}
    config = {**thread.config, **_said_config(request, assistant)}
    if metadata != thread.metadata or config != thread.config:
        await tx.threads.update(thread.thread_id, metadata=metadata, config=config)


def _said_config(request: RunCreate, assistant: Assistant) -> dict[str, Any]:
    """Returns the part of a run's config that the thread's record stores: everything except `configurable`."""
    said = {**assistant.config, **request.config}
    return {**said, "configurable": {}}


def checkpoint_of(request: RunCreate) -> tuple[str, str | None]:
    """Returns namespace and id of the checkpoint that a run starts from. The id None means the newest checkpoint."""
    place = _checkpoint_fields(request)
    return place.get("checkpoint_ns", ""), place.get("checkpoint_id")


async def with_ids(tx: Tx, thread_id: str, request: RunCreate) -> RunCreate:
    """Returns a request for a run with the ids of checkpoints where it has tags.

    Raises:
        NotFound: there is no such tag.
        Invalid: the same, in `checkpoint_id`, which only takes ids on other servers.
    """
    configurable = request.config.get("configurable") or {}
    checkpoint = {} if request.checkpoint is UNSET else request.checkpoint
    places = [place.get("checkpoint_id") for place in (configurable, checkpoint)]
    own = request.checkpoint_id
    if not any(isinstance(named, str) and is_tag_name(named) for named in (own, *places)):
        return request
    found = copy(request)
    if isinstance(own, str):
        found.checkpoint_id = await checkpoint_named(tx, thread_id, own, unknown=Invalid)
    if places[0]:
        named = await checkpoint_named(tx, thread_id, places[0])
        found.config = {**request.config, "configurable": {**configurable, "checkpoint_id": named}}
    if places[1]:
        found.checkpoint = {**checkpoint, "checkpoint_id": await checkpoint_named(tx, thread_id, places[1])}
    return found


def _checkpoint_fields(request: RunCreate) -> dict[str, Any]:
    """Returns the fields that name this checkpoint: from `checkpoint_id`, `checkpoint` or the same keys in `configurable`."""
    place: dict[str, Any] = {}
    configurable = request.config.get("configurable") or {}
    for source in (configurable, {} if request.checkpoint is UNSET else request.checkpoint):
        for key in CHECKPOINT_KEYS:
            if source.get(key):
                place[key] = source[key]
    if request.checkpoint_id is not UNSET:
        place["checkpoint_id"] = request.checkpoint_id
    return place


def _durability(request: RunCreate) -> str:
    if request.durability is not UNSET:
        return request.durability
    return "exit" if request.checkpoint_during is False else "async"


def _given(value: Any) -> Any:
    return None if value is UNSET else value
