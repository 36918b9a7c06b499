"""Authorization of runs: the user's handlers are called before a run is created (docs/contract/auth.md#what-each-route-asks)."""

import copy
import functools
from typing import Any, Protocol

import msgspec

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.errors import NotFound
from threadloom.ids import new_id
from threadloom.services.permission import and_, handler_metadata, handler_value, visible_thread
from threadloom.services.requests import RunCreate
from threadloom.services.run_request import NO_THREAD, SERVERS, new_run, new_thread
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter
from threadloom.types import Assistant, Caller, Run, Thread, Ttl


class AssistantResolver(Protocol):
    """What runs need of the assistants service."""

    async def resolve(self, tx: Tx, assistant: str) -> Assistant:
        """Returns the assistant that a run names, by id or by the name of its graph.

        Raises:
            NotFound: there is no such assistant, or its graph is not configured.
            Invalid: the name is neither an id nor a graph.
        """
        ...

    def id_of(self, name: str) -> str:
        """Returns the assistant id for a name, without checking that the assistant exists.

        Raises:
            Invalid: the name is neither an id nor a graph.
        """
        ...

    def is_own(self, assistant_id: str) -> bool:
        """Returns whether the assistant is a default assistant."""
        ...


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the authorize handlers for a run. The run may be created if its thread and its assistant match the rules.

    Attributes:
        run_id: the id of the run.
        metadata: the metadata of the run, in place of the request's.
        before, after: the run's `kwargs` before and after the handlers. The difference is applied to the run.
        thread, assistant: the rules that the run's thread and assistant must match.
        reading: the rule that the thread must match so that the caller may read the run's events.
        asks_for_threads: whether creating a thread that is not temporary needs a grant of its own.
        new_thread: that grant: the thread's metadata after the handlers; None if the run's thread existed, or is temporary.
    """

    run_id: str
    metadata: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    thread: Filter | None
    reading: Filter | None
    assistant: Filter | None
    asks_for_threads: bool
    new_thread: dict[str, Any] | None = None

    def applied_to(self, request: RunCreate) -> RunCreate:
        """Returns the request with the metadata of the grant."""
        return msgspec.structs.replace(request, metadata=self.metadata)

    def change(self, run: Run) -> None:
        """Applies the changes of the handlers to a new run. Entries that only the server sets are not changed."""
        if self.before == self.after:
            return
        said = run.kwargs["config"]["configurable"]
        servers = {key: said[key] for key in SERVERS if key in said}
        temporary = run.kwargs["temporary"]
        _apply(self.before, self.after, run.kwargs)
        run.kwargs.setdefault("config", {})
        config = handler_value(run.kwargs, "config", dict)
        config.setdefault("configurable", {})
        config["configurable"] = {**handler_value(config, "configurable", dict), **servers}
        config.setdefault("metadata", {})
        handler_value(config, "metadata", dict)
        run.kwargs["temporary"] = temporary
        run.kwargs.setdefault("stream_mode", ["values"])
        handler_value(run.kwargs, "stream_mode", list)


def made_thread(
    grant: Grant | None,
    thread_id: str,
    request: RunCreate,
    assistant: Assistant,
    now: int,
    priority: int | None,
    ttl: Ttl | None,
    *,
    temporary: bool = False,
) -> Thread:
    """Returns the record of the thread that a run creates.

    Raises:
        NotFound: the thread was not granted, because it existed when the handlers were called.
    """
    granted = grant.new_thread if grant is not None else None
    if granted is not None:
        request = msgspec.structs.replace(request, metadata=granted)
    elif grant is not None and grant.asks_for_threads and not temporary:
        raise NotFound(NO_THREAD)
    return new_thread(thread_id, request, assistant, now, priority=priority, ttl=ttl)


class RunAuthorizer:
    """Calls the authorize handlers for runs.

    Args:
        asks_for_threads: whether a run that creates a thread which is not temporary also needs a grant for that thread
            (`threadloom.auth.implicit_threads`).
    """

    def __init__(
        self, *, storage: Storage, guard: Guard, assistants: AssistantResolver, clock: Clock, asks_for_threads: bool
    ) -> None:
        self._asks_for_threads = asks_for_threads
        self._storage = storage
        self._guard = guard
        self._assistants = assistants
        self._clock = clock

    def needed(self, caller: Caller) -> bool:
        """Returns whether a caller needs a grant."""
        return self._guard.asks(caller)

    async def grant(
        self,
        caller: Caller,
        thread_id: str | None,
        request: RunCreate,
        *,
        own_thread: str,
        watched: bool = False,
    ) -> Grant | None:
        """Returns the grant of a run; None if the caller needs none.

        Args:
            own_thread: the id of the thread that is created for a run without a thread.
            watched: whether the caller will read the run's events.

        Raises:
            Denied: a handler denied the run.
            Invalid: the assistant is neither an id nor a graph.
        """
        if not self.needed(caller):
            return None
        assistant_id = self._assistants.id_of(request.assistant_id)
        assistant = await self._storage.read(functools.partial(self._known, assistant_id))
        run_id = new_id()
        before = self._kwargs(caller, thread_id, request, assistant, run_id)
        value: dict[str, Any] = {
            "thread_id": thread_id,
            "assistant_id": assistant_id,
            "run_id": run_id,
            "status": "pending",
            "metadata": dict(request.metadata),
            "prevent_insert_if_inflight": request.multitask_strategy == "reject",
            "multitask_strategy": request.multitask_strategy,
            "if_not_exists": request.if_not_exists,
            "after_seconds": request.after_seconds,
            "kwargs": copy.deepcopy(before),
        }
        of_thread = await self._guard.ask(caller, "threads", "create_run", value)
        of_assistant = None
        if not self._assistants.is_own(assistant_id):
            of_assistant = await self._guard.ask(caller, "assistants", "read", {"assistant_id": assistant_id})
        reading = None
        if watched:
            reading = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id or own_thread})
        metadata = handler_metadata(caller, value)
        new_thread = None
        if self._asks_for_threads and await self._makes_thread(thread_id, request, and_(of_thread, reading)):
            new_thread = await self._new_thread(caller, thread_id or own_thread, metadata)
        return Grant(
            run_id=run_id,
            metadata=metadata,
            before=before,
            after=handler_value(value, "kwargs", dict),
            thread=of_thread,
            reading=reading,
            assistant=of_assistant,
            asks_for_threads=self._asks_for_threads,
            new_thread=new_thread,
        )

    async def _makes_thread(self, thread_id: str | None, request: RunCreate, rule: Filter | None) -> bool:
        """Returns whether a run creates a thread that is not temporary, as far as its caller can know. A caller who is denied a
        new thread must not learn whether another user has a thread with that id.
        """
        if thread_id is None:
            return request.on_completion != "delete"
        if request.if_not_exists != "create":
            return False
        return await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule)) is None

    async def _new_thread(self, caller: Caller, thread_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Returns the metadata of a thread that the caller may create. Raises `Denied` if the handler of `threads.create` denies
        it.
        """
        value = {"thread_id": thread_id, "metadata": copy.deepcopy(metadata), "if_exists": "do_nothing"}
        await self._guard.ask(caller, "threads", "create", value)
        return handler_metadata(caller, value)

    async def _known(self, assistant_id: str, tx: Tx) -> Assistant | None:
        try:
            return await self._assistants.resolve(tx, assistant_id)
        except NotFound:
            # The handler is called all the same: a caller who may not create runs must not learn which assistants exist.
            return None

    def _kwargs(
        self, caller: Caller, thread_id: str | None, request: RunCreate, assistant: Assistant | None, run_id: str
    ) -> dict[str, Any]:
        """Returns the run's `kwargs` as far as they are known without its thread."""
        now = self._clock.now()
        blank = Assistant(assistant_id="", graph_id="", version=1, created_at=now, updated_at=now, name="")
        thread = Thread(thread_id=thread_id or "", created_at=now, updated_at=now, state_updated_at=now, metadata={})
        run = new_run(
            request,
            caller=caller,
            assistant=assistant or blank,
            thread=thread,
            clock=self._clock,
            temporary=thread_id is None and request.on_completion == "delete",
            run_id=run_id,
        )
        return run.kwargs


def _apply(before: dict[str, Any], after: dict[str, Any], target: dict[str, Any]) -> None:
    """Applies the difference of two mappings to a third one."""
    for key in before.keys() - after.keys():
        target.pop(key, None)
    for key, value in after.items():
        old = before.get(key)
        if key in before and old == value:
            continue
        mine = target.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and isinstance(mine, dict):
            _apply(old, value, mine)
        else:
            target[key] = value
