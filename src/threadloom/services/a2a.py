"""Assistants as A2A agents. A context is a thread. A task is a run on it, together with the runs that continue the task."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from threadloom.clock import from_iso
from threadloom.errors import ApiError, Conflict, NotFound
from threadloom.ids import new_id, parse_id
from threadloom.services.a2a_card import agent_card
from threadloom.services.a2a_input import answers, graph_input
from threadloom.services.a2a_tasks import (
    A2aRequest,
    TaskReader,
    TaskSnapshot,
    artifacts_of,
    status_of,
    task_of,
    working,
)
from threadloom.services.a2a_wire import (
    NO_PUSH,
    NOT_CANCELABLE,
    STATES,
    TASK_NOT_FOUND,
    UNSUPPORTED,
    A2aError,
    A2aMessage,
    Object,
    context_id,
    invalid,
    length,
    optional_text,
    said,
)
from threadloom.services.open_questions import questions_of
from threadloom.services.requests import RunCreate, StateUpdate
from threadloom.storage.tasks import TASK_ID_KEY, TaskQuery, TaskState
from threadloom.types import ACTIVE, Assistant, Caller, Event, Run, Thread

if TYPE_CHECKING:
    from threadloom.services import Services

DENIED = "Access denied to assistant or thread"
THE_END = "__end__"
"""LangGraph's name for the end of a graph. A state that is written as this node has no next tasks."""
NEW_TASK = "leave taskId out to begin a new one"


class A2aService:
    """The methods of A2A, on top of the other services. All raise `A2aError` for errors of the client."""

    def __init__(self, services: "Services") -> None:
        self._services = services
        self._tasks = TaskReader(services)

    # --- the agent ---

    async def assistant(self, caller: Caller, named: str | None) -> Assistant:
        """Returns the assistant that an agent stands for."""
        assistant_id = parse_id(named) if named else None
        if assistant_id is None:
            raise invalid(f"assistant_id must be the UUID of an assistant, not {named!r:.100}")
        try:
            return await self._services.assistants.get(caller, assistant_id)
        except ApiError as refused:
            raise invalid(error_message(refused)) from refused

    async def card(self, caller: Caller, assistant: Assistant, base: str) -> Object:
        """Returns the agent card of an assistant.

        Args:
            base: the URL of the server, without a slash at its end.
        """
        return agent_card(assistant, await self._input_schema(caller, assistant), base)

    # --- messages ---

    async def send(self, asked: A2aRequest, params: Object) -> Awaitable[Object]:
        """Creates a run for a message. Awaiting the result returns the task: after the run, or at once, as the client asked."""
        message = said(params.get("message"))
        asked, at_once = _configured(asked, params)
        task_id, thread_id, request = await self._run_for(asked, message, params)
        if at_once:
            made = await _admitted(self._services.starts.create(asked.caller, thread_id, request), message.context_id)
            return self._sent(asked, task_id or task_of(made), made)
        waiting = self._services.streams.wait(asked.caller, thread_id, request)
        run, output = await _admitted(waiting, message.context_id)
        return self._sent(asked, task_id or task_of(run), run, output)

    async def _sent(self, asked: A2aRequest, task_id: str, run: Run, over: Awaitable[bytes] | None = None) -> Object:
        if over is None:
            standing = await self._tasks.standing(asked.caller, task_id, run)
        else:
            await over
            standing = await self._ended(asked, task_id, run)
        return asked.shape(task_id).event(await self._tasks.task(asked, standing))

    async def stream(self, asked: A2aRequest, params: Object) -> AsyncGenerator[Object, None]:
        """Creates a run for a message, and yields the events of the task until the run ends."""
        message = said(params.get("message"))
        asked, _ = _configured(asked, params)
        task_id, thread_id, request = await self._run_for(asked, message, params)
        streaming = self._services.streams.stream(asked.caller, thread_id, request)
        run, events = await _admitted(streaming, message.context_id)
        task_id = task_id or task_of(run)
        shape = asked.shape(task_id)
        history = [shape.message(message.role, message.parts, message.message_id)]
        first = shape.task(shape.status("submitted", run.created_at), history, [])
        return self._items(asked, task_id, run, first, events)

    async def subscribe(self, asked: A2aRequest, params: Object) -> AsyncGenerator[Object, None]:
        """Yields the events of a task from now on."""
        standing = await self._named(asked, params)
        if standing.state not in ("submitted", "working", "input-required"):
            raise A2aError(UNSUPPORTED, f"Task {standing.task_id} is {standing.state}: nothing will happen to it")
        run = standing.run
        first = await self._tasks.task(asked, standing)
        events: AsyncIterator[Sequence[Event]] | None = None
        if run.status in ACTIVE:
            events = await self._services.streams.join_stream(
                asked.caller, run.thread_id, run.run_id, modes={"messages"}
            )
        return self._items(asked, standing.task_id, run, first, events)

    async def _items(
        self, asked: A2aRequest, task_id: str, run: Run, first: Object, events: AsyncIterator[Sequence[Event]] | None
    ) -> AsyncGenerator[Object, None]:
        shape = asked.shape(task_id)
        try:
            yield shape.event(first)
            if events is not None:
                async for item in working(shape, events, run):
                    yield item
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        standing = await self._ended(asked, task_id, run)
        for artifact in artifacts_of(shape, asked.assistant, standing):
            yield shape.artifact_event(artifact)
        yield shape.status_event(status_of(shape, standing, whole_error=True), final=True)

    async def _ended(self, asked: A2aRequest, task_id: str, run: Run) -> TaskSnapshot:
        """Returns the state of a task after its run. It is canceled if the run was rolled back, which deletes the run."""
        try:
            run = await self._services.runs.get(asked.caller, run.thread_id, run.run_id)
        except NotFound:
            return TaskSnapshot(task_id=task_id, run=run, state="canceled")
        return await self._tasks.standing(asked.caller, task_id, run)

    # --- the run of a message ---

    async def _run_for(
        self, asked: A2aRequest, message: A2aMessage, params: Object
    ) -> tuple[str | None, str, RunCreate]:
        """Returns the task that a message continues (None: a new one), its thread, and the request for the run."""
        thread_id = message.context_id
        named = None
        if message.task_id is not None:
            named = await self._find(asked, message.task_id, thread_id)
            thread_id = named.run.thread_id
        thread = await self._thread(asked.caller, thread_id) if thread_id else None
        metadata = params.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise invalid("metadata must be an object")
        request = RunCreate(
            assistant_id=asked.assistant.assistant_id,
            metadata=metadata,
            if_not_exists="create",
            stream_mode=["values", "messages"],
        )
        waiting = await self._waiting(asked, thread) if thread else None
        if named is not None and named.task_id != waiting:
            if named.run.status in ACTIVE:
                raise invalid(f"Task {named.task_id} is still at work and takes no message; {NEW_TASK}")
            raise A2aError(UNSUPPORTED, f"Task {named.task_id} is {named.state} and takes no message; {NEW_TASK}")
        if thread is None or waiting is None:
            schema = await self._input_schema(asked.caller, asked.assistant)
            request.input = graph_input(message, schema)
            return None, thread_id or new_id(), request
        request.metadata = {**metadata, TASK_ID_KEY: waiting}
        request.command = {"resume": answers(message, thread)}
        return waiting, thread.thread_id, request

    async def _thread(self, caller: Caller, thread_id: str) -> Thread | None:
        try:
            return await self._services.threads.get(caller, thread_id)
        except NotFound:
            return None
        except ApiError as refused:
            raise _no_thread(refused, thread_id) from refused

    async def _waiting(self, asked: A2aRequest, thread: Thread) -> str | None:
        """Returns the task of this agent that waits for an answer on a thread."""
        if thread.status != "interrupted" or not questions_of(thread):
            return None
        newest = next(iter(await self._tasks.runs(asked.caller, thread.thread_id)), None)
        if newest is None or newest.assistant_id != asked.assistant.assistant_id:
            return None
        return task_of(newest)

    async def _input_schema(self, caller: Caller, assistant: Assistant) -> Object | None:
        try:
            return await self._services.assistants.input_schema(caller, assistant)
        except Exception:
            # A user's factory may raise anything; the run will report the error.
            return None

    # --- tasks ---

    async def get(self, asked: A2aRequest, params: Object) -> Object:
        """Returns a task."""
        asked = asked.limited(length(params.get("historyLength"), "historyLength"))
        standing = await self._named(asked, params)
        return await self._tasks.task(asked, standing, completed="Task completed successfully")

    async def cancel(self, asked: A2aRequest, params: Object) -> Object:
        """Cancels a task's run, or withdraws its open question. Returns the task."""
        standing = await self._named(asked, params)
        run = standing.run
        if run.status not in ACTIVE and standing.state != "input-required":
            raise A2aError(NOT_CANCELABLE, f"Task {standing.task_id} is {standing.state} and cannot be canceled")
        try:
            if run.status in ACTIVE:
                await self._services.runs.cancel(asked.caller, run.thread_id, run.run_id, wait=True)
            else:
                await self._withdraw(asked, standing)
        except (NotFound, Conflict) as over:
            raise A2aError(NOT_CANCELABLE, f"Task {standing.task_id} has just gone on or ended") from over
        return await self._tasks.task(asked, await self._ended(asked, standing.task_id, run))

    async def _withdraw(self, asked: A2aRequest, standing: TaskSnapshot) -> None:
        """Withdraws the open question of a task, so that the next message of the context starts a new task."""
        caller, run = asked.caller, standing.run
        thread = await self._thread(caller, run.thread_id)
        if thread is not None and await self._waiting(asked, thread) == standing.task_id:
            await self._services.state.update(caller, run.thread_id, StateUpdate(values=None, as_node=THE_END))
        await self._services.runs.abandon(caller, run.thread_id, run.run_id)

    async def search(self, asked: A2aRequest, params: Object) -> Object:
        """Returns a page of the agent's tasks, the last changed first."""
        token = optional_text(params.get("pageToken"), "pageToken") or "0"
        if not (token.isascii() and token.isdigit() and len(token) <= 15):
            raise invalid(f"pageToken: {token!r:.100} was not given out by this server")
        query = TaskQuery(
            assistant_id=asked.assistant.assistant_id,
            thread_id=context_id(params.get("contextId"), "contextId"),
            state=_state(params.get("status")),
            since=_since(params.get("statusTimestampAfter")),
            limit=length(params.get("pageSize"), "pageSize", least=1, most=100) or 50,
            offset=int(token),
        )
        asked = asked.limited(length(params.get("historyLength"), "historyLength"))
        found, total = await self._services.runs.tasks(asked.caller, query)
        artifacts = params.get("includeArtifacts") is True
        tasks = []
        for one in found:
            standing = await self._tasks.standing(asked.caller, one.task_id, one.run)
            tasks.append(await self._tasks.task(asked, standing, artifacts=artifacts))
        following = query.offset + len(tasks)
        more = str(following) if tasks and following < total else ""
        return {"tasks": tasks, "totalSize": total, "pageSize": len(tasks), "nextPageToken": more}

    async def _named(self, asked: A2aRequest, params: Object) -> TaskSnapshot:
        """Returns the task that the parameter `id` (and `contextId`) names."""
        task_id = optional_text(params.get("id"), "id")
        if task_id is None:
            raise invalid("id is required and must be a text")
        return await self._find(asked, task_id, context_id(params.get("contextId"), "contextId"))

    async def _find(self, asked: A2aRequest, task_id: str, context: str | None) -> TaskSnapshot:
        thread, _, run = task_id.partition(":")
        thread_id, run_id = parse_id(thread), parse_id(run)
        if thread_id and run_id and context in (None, thread_id):
            try:
                found = await self._tasks.find(asked, thread_id, run_id)
            except ApiError as refused:
                raise A2aError(TASK_NOT_FOUND, f"Task {task_id!r:.100} not found") from refused
            if found is not None:
                return found
        raise A2aError(TASK_NOT_FOUND, f"Task {task_id!r:.100} not found")


def _configured(asked: A2aRequest, params: Object) -> tuple[A2aRequest, bool]:
    """Applies a message's configuration: the history length, and whether to respond at once."""
    configuration = params.get("configuration") or {}
    if not isinstance(configuration, dict):
        raise invalid("configuration must be an object")
    if configuration.get("pushNotificationConfig") or configuration.get("taskPushNotificationConfig"):
        raise A2aError(NO_PUSH, "Push notifications are not supported")
    kept = length(configuration.get("historyLength"), "configuration.historyLength")
    at_once = configuration.get("blocking") is False or configuration.get("returnImmediately") is True
    return asked.limited(kept), at_once


async def _admitted(made: Awaitable[Any], context: str | None) -> Any:
    """Awaits a new run. A NotFound refers to the thread, because the assistant is known to exist."""
    try:
        return await made
    except ApiError as refused:
        if refused.status in (403, 404):
            raise _no_thread(refused, context) from refused
        raise


def _no_thread(refused: ApiError, thread_id: str | None) -> A2aError:
    data = {"error_type": "thread_not_found"}
    return invalid(error_message(refused), {"thread_id": thread_id, **data} if thread_id else data)


def error_message(refused: ApiError) -> str:
    """Returns the text of a service's error for an A2A client."""
    return DENIED if refused.status == 403 else refused.detail


def _state(value: Any) -> TaskState | None:
    name = optional_text(value, "status")
    if name in (None, "TASK_STATE_UNSPECIFIED"):
        return None
    for modern, state in STATES.items():
        if name in (modern, state):
            return state
    raise invalid(f"status: {name!r:.100} is none of {', '.join(STATES)}")


def _since(value: Any) -> int | None:
    text = optional_text(value, "statusTimestampAfter")
    try:
        return None if text is None else from_iso(text)
    except ValueError:
        raise invalid(f"statusTimestampAfter: {text!r:.100} is no ISO 8601 moment") from None
