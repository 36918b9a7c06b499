"""Converts runs to tasks: the state of a task, the messages of its context, and its artifacts."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from threadloom.codec import from_json
from threadloom.errors import NotFound
from threadloom.services.a2a_wire import Dialect, Object, data_part, derived, parts_of, text_part
from threadloom.storage.tasks import TASK_ID_KEY, TaskState
from threadloom.types import ACTIVE, Assistant, Caller, Event, Run, Thread

if TYPE_CHECKING:
    from threadloom.services import Services

Scope = Literal["context", "task"]
"""The messages in a task's history: those of its whole context, or of the task alone."""

RUNS_KEPT = 100
"""The newest runs of a thread that are read to find the task that a message continues, and the task that a message belongs to."""


class A2aRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The caller and the agent of a request, and the form of the response."""

    caller: Caller
    assistant: Assistant
    modern: bool
    scope: Scope = "context"
    length: int | None = None

    def shape(self, task_id: str) -> Dialect:
        """Returns the encoder of a task in the dialect of the request."""
        return Dialect(self.modern, task_id)

    def limited(self, length: int | None) -> "A2aRequest":
        """Returns the same request with at most `length` history entries."""
        return msgspec.structs.replace(self, length=length)


class TaskSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a task: its newest run, and the outcome of that run."""

    task_id: str
    run: Run
    state: TaskState
    output: Any = None
    error: dict[str, str] = {}

    @property
    def questions(self) -> list[Object]:
        """The open questions of the task, each as `{"id", "value"}`."""
        asked = self.output["__interrupt__"] if self.state == "input-required" else []
        return [{"id": one.get("id"), "value": one.get("value")} for one in asked]


def task_of(run: Run) -> str:
    """Returns the id of the task that a run belongs to."""
    named = run.metadata.get(TASK_ID_KEY)
    return named if isinstance(named, str) else f"{run.thread_id}:{run.run_id}"


class TaskReader:
    """Reads tasks. Only what the caller may read is returned."""

    def __init__(self, services: "Services") -> None:
        self._services = services

    async def standing(self, caller: Caller, task_id: str, run: Run) -> TaskSnapshot:
        """Returns the state of the task whose newest run is `run`."""
        if run.status in ACTIVE:
            return TaskSnapshot(task_id=task_id, run=run, state="submitted" if run.status == "pending" else "working")
        output = from_json(await (await self._services.streams.join(caller, run.thread_id, run.run_id)))
        if run.status == "interrupted":
            return TaskSnapshot(task_id=task_id, run=run, state="canceled")
        if run.status != "success":
            error = output.get("__error__") if isinstance(output, dict) else None
            return TaskSnapshot(task_id=task_id, run=run, state="failed", error=error or {})
        asks = isinstance(output, dict) and "__interrupt__" in output
        return TaskSnapshot(task_id=task_id, run=run, state="input-required" if asks else "completed", output=output)

    async def find(self, asked: A2aRequest, thread_id: str, first_id: str) -> TaskSnapshot | None:
        """Returns the state of a task of this agent, or None if there is no such task."""
        task_id = f"{thread_id}:{first_id}"
        caller = asked.caller
        try:
            run = await self._services.runs.get(caller, thread_id, first_id)
        except NotFound:
            return None
        if run.assistant_id != asked.assistant.assistant_id or task_of(run) != task_id:
            return None
        standing = await self.standing(caller, task_id, run)
        if standing.state != "input-required":
            return standing
        newest = next((one for one in await self.runs(caller, thread_id) if task_of(one) == task_id), run)
        return standing if newest.run_id == run.run_id else await self.standing(caller, task_id, newest)

    async def runs(self, caller: Caller, thread_id: str) -> list[Run]:
        """Returns the newest runs of a thread, newest first."""
        return await self._services.runs.list(caller, thread_id, limit=RUNS_KEPT, offset=0, status=None)

    async def task(
        self, asked: A2aRequest, standing: TaskSnapshot, *, artifacts: bool = True, completed: str | None = None
    ) -> Object:
        """Returns the whole task.

        Args:
            completed: the status text of a completed task.
        """
        shape = asked.shape(standing.task_id)
        history = await self._history(asked, standing, shape)
        made = artifacts_of(shape, asked.assistant, standing) if artifacts else None
        return shape.task(status_of(shape, standing, completed=completed), history, made)

    async def _history(self, asked: A2aRequest, standing: TaskSnapshot, shape: Dialect) -> list[Object]:
        if asked.length == 0:
            return []
        run = standing.run
        thread = await self._services.threads.get(asked.caller, run.thread_id)
        owners = dict(_owners(await self.runs(asked.caller, run.thread_id)))
        messages = _messages(thread)
        known = {message.get("id") for message in messages}
        # The input of a run is in the state only after the run has begun.
        messages += [message for message in given(run) if message.get("id") not in known]
        history = list(_entries(shape, messages, owners, standing.task_id if asked.scope == "task" else None))
        return history if asked.length is None else history[-asked.length :]


def given(run: Run) -> list[Object]:
    """Returns the chat messages of a run's input that are objects."""
    input_ = run.kwargs.get("input")
    messages = input_.get("messages") if isinstance(input_, dict) else None
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _messages(thread: Thread) -> list[Object]:
    values = from_json(thread.values_json) if thread.values_json else None
    messages = values.get("messages") if isinstance(values, dict) else None
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _owners(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Yields pairs of a message id and the id of its task. If an id is repeated, the task of the newest run comes last."""
    for run in reversed(runs):
        for message in given(run):
            if isinstance(message.get("id"), str):
                yield message["id"], task_of(run)


def _entries(
    shape: Dialect, messages: Sequence[Object], owners: dict[str, str], only_of: str | None
) -> Iterator[Object]:
    """Yields chat messages as history entries. An answer of the model belongs to the task of the message before it."""
    owner = ""
    for message in messages:
        message_id = message.get("id")
        kind = message.get("type") or message.get("role")
        if kind in ("human", "user", "HumanMessageChunk"):
            owner = owners.get(str(message_id), "")
        elif not is_answer(message):
            continue
        if only_of is not None and owner != only_of:
            continue
        parts = parts_of(message.get("content"))
        if parts:
            role: Literal["user", "agent"] = "agent" if is_answer(message) else "user"
            yield shape.message(role, parts, str(message_id), owner)


def is_answer(message: Object) -> bool:
    """Returns whether a chat message was written by the model."""
    return (message.get("type") or message.get("role")) in ("ai", "assistant", "AIMessageChunk")


def status_of(
    shape: Dialect, standing: TaskSnapshot, *, completed: str | None = None, whole_error: bool = False
) -> Object:
    """Returns the status of a task.

    Args:
        completed: the status text of a completed task, if any.
        whole_error: whether the status has the text of an error; otherwise it has the class of the error.
    """
    run, state = standing.run, standing.state
    parts: list[Object] = []
    if state == "completed" and completed:
        parts = [text_part(completed)]
    elif state == "failed":
        name = standing.error.get("error", "Error")
        text = standing.error.get("message") if whole_error else None
        parts = [text_part(text or f"Error executing assistant: {name}")]
    elif state == "canceled":
        parts = [text_part("Task was canceled")]
    elif state == "input-required":
        values = [question["value"] for question in standing.questions]
        parts = [text_part(value) if isinstance(value, str) else data_part(value) for value in values]
    message = shape.message("agent", parts, derived(run.run_id, state)) if parts else None
    return shape.status(state, run.ended_at or run.updated_at, message)


def artifacts_of(shape: Dialect, assistant: Assistant, standing: TaskSnapshot) -> list[Object]:
    """Returns the artifacts of a task: its answer, or its questions."""
    run_id = standing.run.run_id
    if standing.state == "input-required":
        parts = [data_part(question) for question in standing.questions]
        return [shape.artifact(derived(run_id, "questions"), "Interrupt", f"What {assistant.name} asks", parts)]
    if standing.state != "completed":
        return []
    parts = _answer(standing.output)
    return [shape.artifact(derived(run_id, "answer"), "Assistant Response", f"What {assistant.name} answers", parts)]


def _answer(output: Any) -> list[Object]:
    """Returns the content of the last message, or the whole output if there are no messages."""
    messages = output.get("messages") if isinstance(output, dict) else None
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        parts = parts_of(messages[-1].get("content"))
        if parts:
            return parts
    return [text_part(output)] if isinstance(output, str) else [data_part(output)]


async def working(shape: Dialect, batches: AsyncIterator[Sequence[Event]], clock_of: Run) -> AsyncIterator[Object]:
    """Yields the messages of a run while it executes, as stream items. Each item has the whole text of a message so far."""
    said = None
    async for batch in batches:
        message = _newest(batch)
        parts = parts_of(message.get("content")) if message else []
        if message is None or not parts or (message.get("id"), parts) == said:
            continue
        said = (message.get("id"), parts)
        at = batch[-1].ms * 1000 or clock_of.updated_at
        update = shape.message("agent", parts, str(message.get("id")))
        yield shape.status_event(shape.status("working", at, update), final=False)


def _newest(batch: Sequence[Event]) -> Object | None:
    """Returns the model's newest message in a batch of events."""
    for event in reversed(batch):
        if event.name in ("messages/partial", "messages/complete"):
            message = from_json(event.data)[-1]
            if is_answer(message):
                found: Object = message
                return found
    return None
