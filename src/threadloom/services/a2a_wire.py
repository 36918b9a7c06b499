"""The shapes of A2A: messages, parts, tasks and updates, in the dialects 0.3 and 1.0.

Inside, parts are those of 0.3 (`{"kind": "text", …}`); `Dialect` writes what a dialect wants.
"""

import uuid
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from threadloom.clock import iso
from threadloom.errors import ThreadloomError
from threadloom.ids import parse_id
from threadloom.storage.tasks import TaskState

Object = dict[str, Any]
Role = Literal["user", "agent"]

INVALID_PARAMS = -32602
TASK_NOT_FOUND = -32001
NOT_CANCELABLE = -32002
NO_PUSH = -32003
UNSUPPORTED = -32004
CONTENT_TYPE = -32005

_ROLES: dict[Any, Role] = {"user": "user", "ROLE_USER": "user", "agent": "agent", "ROLE_AGENT": "agent"}
STATES: dict[str, TaskState] = {
    "TASK_STATE_SUBMITTED": "submitted",
    "TASK_STATE_WORKING": "working",
    "TASK_STATE_COMPLETED": "completed",
    "TASK_STATE_INPUT_REQUIRED": "input-required",
    "TASK_STATE_FAILED": "failed",
    "TASK_STATE_CANCELED": "canceled",
}
_MODERN_STATES = {state: name for name, state in STATES.items()}


class A2aError(ThreadloomError):
    """An answer that is a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def invalid(message: str, data: Any = None) -> A2aError:
    """The error for parameters that do not fit."""
    return A2aError(INVALID_PARAMS, message, data)


def _unfit(message: str) -> A2aError:
    """The error for a part of a message that is none of those there are."""
    return A2aError(CONTENT_TYPE, message)


class A2aMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A client's message, checked. `parts` are those of 0.3."""

    message_id: str
    role: Role
    parts: Sequence[Object]
    context_id: str | None
    task_id: str | None

    @property
    def data(self) -> Object:
        """What the data parts hold, merged."""
        merged: Object = {}
        for part in self.parts:
            if part["kind"] == "data":
                merged.update(part["data"])
        return merged

    @property
    def content(self) -> str | list[Object] | None:
        """What text and files say, as the content of a chat message; None when there are only data."""
        shown = [part for part in self.parts if part["kind"] != "data"]
        if not shown:
            return None
        if all(part["kind"] == "text" for part in shown):
            return "\n".join(part["text"] for part in shown)
        return [_block(part) for part in shown]


def said(raw: Any) -> A2aMessage:
    """A client's message of either dialect.

    Raises:
        A2aError: something is missing or of the wrong kind; the text names it.
    """
    if not isinstance(raw, dict):
        raise invalid("message is required and must be an object")
    parts = raw.get("parts")
    if not isinstance(parts, list) or not parts:
        raise invalid("message.parts is required and must be a list with at least one part")
    message_id = raw.get("messageId")
    if not isinstance(message_id, str) or not message_id:
        raise invalid("message.messageId is required and must be a text")
    role = raw.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise invalid(f"message.role is required and must be user or agent, not {role!r:.100}")
    return A2aMessage(
        message_id=message_id,
        role=_ROLES[role],
        parts=[_part(part, f"message.parts[{at}]") for at, part in enumerate(parts)],
        context_id=context_id(raw.get("contextId"), "message.contextId"),
        task_id=optional_text(raw.get("taskId"), "message.taskId"),
    )


def context_id(value: Any, place: str) -> str | None:
    """The thread that a context is, in canonical spelling; None when none is named.

    Raises:
        A2aError: it is no UUID.
    """
    text = optional_text(value, place)
    found = parse_id(text) if text else None
    if text and found is None:
        raise invalid(f"{place} must be a UUID", {"thread_id": text, "error_type": "thread_not_found"})
    return found


def optional_text(value: Any, place: str) -> str | None:
    """A text, or None for null and `""`.

    Raises:
        A2aError: it is something else.
    """
    if not isinstance(value, str | None):
        raise invalid(f"{place} must be a text")
    return value or None


def length(value: Any, place: str, *, least: int = 0, most: int = 2**31) -> int | None:
    """A whole number within bounds, or None for null.

    Raises:
        A2aError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"{place} must be a whole number from {least} to {most}")
    return value


def _part(part: Any, place: str) -> Object:
    """A part of either dialect as one of 0.3."""
    if not isinstance(part, dict):
        raise _unfit(f"{place} must be an object")
    kind = part.get("kind") or next((name for name in ("text", "data", "file", "url", "raw") if name in part), None)
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise _unfit(f"{place}.text is required and must be a text")
        return {"kind": "text", "text": part["text"]}
    if kind == "data":
        if not isinstance(part.get("data"), dict):
            raise _unfit(f"{place}.data is required and must be an object")
        return {"kind": "data", "data": part["data"]}
    if kind in ("url", "raw"):
        where = "uri" if kind == "url" else "bytes"
        file: Any = {where: part[kind], "mimeType": part.get("mediaType"), "name": part.get("filename")}
    elif kind == "file":
        file = part.get("file")
        if not isinstance(file, dict):
            raise _unfit(f"{place}.file is required and must be an object")
    else:
        raise _unfit(f"{place}: parts of kind {kind!r:.100} are not supported, only text, data and file")
    texts = {key: file[key] for key in ("uri", "bytes", "mimeType", "name") if file.get(key) is not None}
    if not all(isinstance(text, str) for text in texts.values()) or ("uri" in texts) == ("bytes" in texts):
        raise _unfit(f"{place}: a file has either a uri or bytes (base64), and texts as its type and name")
    return {"kind": "file", "file": texts}


def _block(part: Object) -> Object:
    """A text or file part as a content block of a chat message."""
    if part["kind"] == "text":
        return {"type": "text", "text": part["text"]}
    file = part["file"]
    mime = file.get("mimeType", "application/octet-stream")
    family = mime.split("/")[0]
    where = {"url": file["uri"]} if "uri" in file else {"base64": file["bytes"]}
    block = {"type": family if family in ("image", "audio", "video") else "file", **where, "mime_type": mime}
    return {**block, "extras": {"filename": file["name"]}} if "name" in file else block


def parts_of(content: Any) -> list[Object]:
    """The content of a chat message as parts: its texts, joined where they follow each other, and its files."""
    parts: list[Object] = []
    for block in content if isinstance(content, list) else [content]:
        if isinstance(block, dict) and block.get("type") in ("image", "audio", "video", "file"):
            file = {
                "uri": block.get("url"),
                "bytes": block.get("base64"),
                "mimeType": block.get("mime_type"),
                "name": (block.get("extras") or {}).get("filename"),
            }
            if bool(file["uri"]) != bool(file["bytes"]):
                parts.append({"kind": "file", "file": {key: value for key, value in file.items() if value}})
            continue
        text = block.get("text") if isinstance(block, dict) else block
        if not isinstance(text, str) or not text:
            continue
        if parts and parts[-1]["kind"] == "text":
            parts[-1] = {"kind": "text", "text": parts[-1]["text"] + text}
        else:
            parts.append({"kind": "text", "text": text})
    return parts


def text_part(text: str) -> Object:
    """A text as a part."""
    return {"kind": "text", "text": text}


def data_part(value: Any) -> Object:
    """A value as a part; what is no object is put into one, as `value`."""
    return {"kind": "data", "data": value if isinstance(value, dict) else {"value": value}}


def derived(run_id: str, what: str) -> str:
    """An id that follows from a run's, the same whenever it is asked for."""
    return str(uuid.uuid5(uuid.UUID(run_id), what))


class Dialect:
    """How one task looks in a dialect.

    Args:
        modern: whether it is 1.0.
    """

    def __init__(self, modern: bool, task_id: str) -> None:
        self.modern = modern
        self.task_id = task_id
        self.context_id = task_id.partition(":")[0]

    def task(self, status: Object, history: list[Object], artifacts: list[Object] | None) -> Object:
        """The whole task. Without `artifacts`, they are not shown."""
        task: Object = {"id": self.task_id, "contextId": self.context_id, "status": status, "history": history}
        if artifacts is not None:
            task["artifacts"] = artifacts
        return self._kind("task", task)

    def message(self, role: Role, parts: Sequence[Object], message_id: str, task_id: str | None = None) -> Object:
        """A message of this context; of this task unless another one is named (`""`: it is of none)."""
        message: Object = {
            "role": f"ROLE_{role.upper()}" if self.modern else role,
            "parts": self.parts(parts),
            "messageId": message_id,
            "contextId": self.context_id,
        }
        of_task = self.task_id if task_id is None else task_id
        if of_task:
            message["taskId"] = of_task
        return self._kind("message", message)

    def status(self, state: TaskState, at: int, message: Object | None = None) -> Object:
        """Where a task stands; `at` in microseconds."""
        status: Object = {"state": _MODERN_STATES[state] if self.modern else state, "timestamp": iso(at)}
        if message is not None:
            status["message"] = message
        return status

    def artifact(self, artifact_id: str, name: str, description: str, parts: Sequence[Object]) -> Object:
        """Something that a task made."""
        return {"artifactId": artifact_id, "name": name, "description": description, "parts": self.parts(parts)}

    def parts(self, parts: Sequence[Object]) -> list[Object]:
        """Parts as the dialect has them."""
        return [_modern_part(part) for part in parts] if self.modern else list(parts)

    def event(self, task: Object) -> Object:
        """A task as an item of a stream, and as the answer to a message."""
        return {"task": task} if self.modern else task

    def status_event(self, status: Object, *, final: bool) -> Object:
        """A change of the status as an item of a stream."""
        update = {"taskId": self.task_id, "contextId": self.context_id, "status": status}
        return {"statusUpdate": update} if self.modern else {**update, "kind": "status-update", "final": final}

    def artifact_event(self, artifact: Object) -> Object:
        """An artifact as an item of a stream, whole."""
        update = {
            "taskId": self.task_id,
            "contextId": self.context_id,
            "artifact": artifact,
            "append": False,
            "lastChunk": True,
        }
        return {"artifactUpdate": update} if self.modern else {**update, "kind": "artifact-update"}

    def _kind(self, kind: str, value: Object) -> Object:
        return value if self.modern else {"kind": kind, **value}


def _modern_part(part: Object) -> Object:
    if part["kind"] != "file":
        return {part["kind"]: part[part["kind"]]}
    file = part["file"]
    where = {"url": file["uri"]} if "uri" in file else {"raw": file["bytes"]}
    names = {"mimeType": "mediaType", "name": "filename"}
    return {**where, **{new: file[old] for old, new in names.items() if old in file}}
