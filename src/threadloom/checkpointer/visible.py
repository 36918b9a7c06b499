"""Prepares a checkpoint for display: with the tasks that a `goto` started, and without questions that were answered.

LangGraph executes what a command wrote under a checkpoint, but omits it when it reads a state. And it keeps the question of a
task that was answered and failed afterwards, as if the question were still open.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_KW_ARGS
from langgraph.types import Interrupt
from ormsgpack import OPT_NON_STR_KEYS, unpackb

from threadloom.storage.lineage import CheckpointRow, PendingWrite

SHOWN = "__shown"
"""Key of `configurable`: the state is read for display, not for execution. Never stored, never shown."""

SHARED = "__shared"
"""Key of `configurable`: nothing is called on the values of a history that may change them, so its states may share objects.
Never stored, never shown."""

NULL_TASK = "00000000-0000-0000-0000-000000000000"
INTERRUPT, RESUME, ERROR = "__interrupt__", "__resume__", "__error__"
CONTROL = frozenset((INTERRUPT, RESUME, ERROR, "__error_source_node__"))
"""Channels for the status of a task. A write to any other channel is the task's output, and the task has finished."""

SENDS = "__pregel_tasks"
"""The channel of tasks that were started individually."""

_BRANCH = "branch:to:"
_PULL = "~__pregel_pull, "

ReadRow = Callable[[str], Awaitable[CheckpointRow | None]]
"""Reads the newest checkpoint of a namespace."""


def is_shown(config: RunnableConfig | None) -> bool:
    """Returns whether a config reads a state for display."""
    return bool((config or {}).get("configurable", {}).get(SHOWN))


def is_shared(config: RunnableConfig | None) -> bool:
    """Whether the states of a history may share objects."""
    return bool((config or {}).get("configurable", {}).get(SHARED))


def _is_loose_answer(task_id: str, channel: str) -> bool:
    """Returns whether a write is an answer that names no question. LangGraph would pass it to the next question."""
    return task_id == NULL_TASK and channel == RESUME


def kept_writes(
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    path: str,
    dumps: Callable[[str, Any], tuple[str, bytes, bytes | None]],
) -> list[PendingWrite]:
    """Returns the writes of a task in their stored form. `dumps` takes a channel and the value written to it; it returns type,
    bytes and the digest to record.
    """
    kept = []
    for idx, (channel, value) in enumerate(writes):
        if not _is_loose_answer(task_id, channel):
            type_, data, digest = dumps(channel, value)
            kept.append(
                PendingWrite(task_id, WRITES_IDX_MAP.get(channel, idx), channel, type_, data, path, digest=digest)
            )
    return kept


def opened_writes(writes: Sequence[PendingWrite], loads: Callable[[PendingWrite], Any]) -> list[tuple[str, str, Any]]:
    """Returns stored writes in LangGraph's form. `loads` returns the value of one."""
    return [
        (write.task_id, write.channel, loads(write))
        for write in writes
        if not _is_loose_answer(write.task_id, write.channel)
    ]


def question_id(namespace: str, answered: int = 0) -> str:
    """Returns LangGraph's id of the question that the task with namespace `namespace` asks after `answered` answers."""
    return Interrupt.from_ns(None, f"{namespace}|{answered}" if answered else namespace).id


def asked_under(row: CheckpointRow) -> list[str]:
    """Returns the ids of the last questions of a checkpoint's unfinished tasks, without rebuilding any value."""
    asked = [writes[INTERRUPT] for writes in _tasks(row).values()]
    questions = [unpackb(one.data, ext_hook=_parts, option=OPT_NON_STR_KEYS) for one in asked if one.type == "msgpack"]
    return [question["id"] for of_task in questions for question in of_task if isinstance(question, dict)]


def _parts(code: int, data: bytes) -> Any:
    """Returns the constructor arguments of a stored question, without rebuilding it; None for other objects."""
    if code != EXT_CONSTRUCTOR_KW_ARGS:
        return None
    _, name, parts = unpackb(data, ext_hook=_parts, option=OPT_NON_STR_KEYS)
    return parts if name == Interrupt.__name__ else None


async def without_answered(row: CheckpointRow, serde: SerializerProtocol, read: ReadRow) -> CheckpointRow:
    """Returns the row without the questions of tasks that were answered and failed afterwards.

    If it is unknown whether a failed task was answered, its question is omitted too: the task asks again when the thread
    continues.
    """
    stale = {task_id for task_id, writes in _tasks(row).items() if not await _waits(row.namespace, writes, serde, read)}
    if not stale:
        return row
    kept = [write for write in row.writes if write.channel != INTERRUPT or write.task_id not in stale]
    return msgspec.structs.replace(row, writes=kept)


def _tasks(row: CheckpointRow) -> dict[str, dict[str, PendingWrite]]:
    """Returns the control writes of each unfinished task with a question, by channel."""
    found: dict[str, dict[str, PendingWrite]] = {}
    finished = set()
    for write in row.writes:
        if write.channel in CONTROL:
            found.setdefault(write.task_id, {})[write.channel] = write
        else:
            finished.add(write.task_id)
    return {task: writes for task, writes in found.items() if INTERRUPT in writes and task not in finished}


async def _waits(namespace: str, writes: dict[str, PendingWrite], serde: SerializerProtocol, read: ReadRow) -> bool:
    """Returns whether the question of a task is unanswered."""
    asked, failed, resumed = writes[INTERRUPT], writes.get(ERROR), writes.get(RESUME)
    if failed is None or failed.pos < asked.pos:
        return True
    if not asked.path.startswith(_PULL):
        return False
    own = f"{namespace}|" * bool(namespace) + f"{asked.path.removeprefix(_PULL)}:{asked.task_id}"
    answers = [] if resumed is None else serde.loads_typed((resumed.type, resumed.data))
    questions = {question.id for question in serde.loads_typed((asked.type, asked.data))}
    if questions & {question_id(own, number) for number in range(len(answers))}:
        return False
    if question_id(own, len(answers)) in questions:
        return True
    inner = await read(own)
    if inner is None:
        return False
    waiting = [
        question.id
        for of_task in _tasks(inner).values()
        if await _waits(own, of_task, serde, read)
        for question in serde.loads_typed((of_task[INTERRUPT].type, of_task[INTERRUPT].data))
    ]
    return bool(questions.intersection(waiting))


def with_goto(saved: CheckpointTuple, next_version: Callable[[Any, None], Any]) -> CheckpointTuple:
    """Returns the checkpoint with the writes of a command's `goto` applied to its channels, so that its tasks are prepared."""
    written = [
        (channel, value)
        for task_id, channel, value in saved.pending_writes or ()
        if task_id == NULL_TASK and (channel == SENDS or channel.startswith(_BRANCH))
    ]
    if not written:
        return saved
    values = dict(saved.checkpoint["channel_values"])
    versions = dict(saved.checkpoint["channel_versions"])
    newest = next_version(max(versions.values(), default=None), None)
    for channel, value in written:
        values[channel] = [*values.get(channel, ()), value] if channel == SENDS else value
        versions[channel] = newest
    checkpoint: Any = {**saved.checkpoint, "channel_values": values, "channel_versions": versions}
    return saved._replace(checkpoint=checkpoint)
