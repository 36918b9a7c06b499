"""What the user's handlers make of a run before it is made (docs/contract/auth.md#what-each-route-asks)."""

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
    """What is needed of the assistants service."""

    async def resolve(self, tx: Tx, assistant: str) -> Assistant:
        """Returns the assistant that a run names, by id or by the name of its graph.

        Raises:
            NotFound: there is none, or its graph is not configured.
            Invalid: the name is neither an id nor a graph.
        """
        ...

    def id_of(self, name: str) -> str:
        """Returns the id of the assistant that a name stands for, without looking whether it exists.

        Raises:
            Invalid: the name is neither an id nor a graph.
        """
        ...

    def is_own(self, assistant_id: str) -> bool:
        """Returns whether the assistant is a graph's own."""
        ...


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A run that may be made, if its thread and its assistant fit.

    Attributes:
        run_id: the id it gets.
        metadata: what it gets in place of the request's.
        before, after: its `kwargs` as handlers saw and as they left them; the difference is made to the run's.
        thread, assistant: the rules that its thread and its assistant must fit.
        asks_for_threads: whether it takes a grant of its own to make a thread that stays.
        new_thread: that grant: what handlers left of the thread's metadata; None where the run's thread was there, or is
            temporary.
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
        """The request with the metadata that handlers left."""
        return msgspec.structs.replace(request, metadata=self.metadata)

    def change(self, run: Run) -> None:
        """Makes to a new run what handlers changed. What only the server says stays as it is."""
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
    """The thread that a run makes.

    Raises:
        NotFound: it was not granted, for when handlers were asked the thread was there.
    """
    granted = grant.new_thread if grant is not None else None
    if granted is not None:
        request = msgspec.structs.replace(request, metadata=granted)
    elif grant is not None and grant.asks_for_threads and not temporary:
        raise NotFound(NO_THREAD)
    return new_thread(thread_id, request, assistant, now, priority=priority, ttl=ttl)


class RunAuthorizer:
    """Asks handlers whether a run may be made.

    Args:
        asks_for_threads: whether a run that makes a thread which stays also needs to be granted that thread
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
        """Whether a caller needs a grant at all."""
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
        """What the caller may make; None when nobody is asked.

        Args:
            own_thread: the id of the thread that a run without one gets.
            watched: whether the caller is going to read what the run tells.

        Raises:
            Denied: a handler refused.
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
        """Whether a run makes a thread that stays, as far as its caller can tell: who is refused a new thread must not learn
        by it whether somebody else has one with that id."""
        if thread_id is None:
            return request.on_completion != "delete"
        if request.if_not_exists != "create":
            return False
        return await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule)) is None

    async def _new_thread(self, caller: Caller, thread_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """The metadata of a thread that the caller may make. Raises `Denied` as the handler of `threads.create` does."""
        value = {"thread_id": thread_id, "metadata": copy.deepcopy(metadata), "if_exists": "do_nothing"}
        await self._guard.ask(caller, "threads", "create", value)
        return handler_metadata(caller, value)

    async def _known(self, assistant_id: str, tx: Tx) -> Assistant | None:
        try:
            return await self._assistants.resolve(tx, assistant_id)
        except NotFound:
            return None  # the handler is asked all the same: who may not make runs learns nothing of assistants

    def _kwargs(
        self, caller: Caller, thread_id: str | None, request: RunCreate, assistant: Assistant | None, run_id: str
    ) -> dict[str, Any]:
        """The run's `kwargs` as far as they are known before its thread is."""
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
    """Makes to a mapping what made another one of an earlier one."""
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
