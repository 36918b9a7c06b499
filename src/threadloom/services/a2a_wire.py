"""The objects of A2A: messages, parts, tasks and updates, in the dialects 0.3 and 1.0.

The server uses the parts of 0.3 (`{"kind": "text", …}`). `Dialect` converts them.
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
    """An error that becomes a JSON-RPC error response."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def invalid(message: str, data: Any = None) -> A2aError:
    """Returns the error for invalid parameters."""
    return A2aError(INVALID_PARAMS, message, data)


def _unfit(message: str) -> A2aError:
    """Returns the error for a message part of an unknown kind."""
    return A2aError(CONTENT_TYPE, message)


class A2aMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A validated message of a client. `parts` are in the form of 0.3."""

    message_id: str
    role: Role
    parts: Sequence[Object]
    context_id: str | None
    task_id: str | None

    @property
    def data(self) -> Object:
        """Returns the merged content of the data parts."""
        merged: Object = {}
        for part in self.parts:
            if part["kind"] == "data":
                merged.update(part["data"])
        return merged

    @property
    def content(self) -> str | list[Object] | None:
        """Returns the texts and files as the content of a chat message, or None if there are only data parts."""
        shown = [part for part in self.parts if part["kind"] != "data"]
        if not shown:
            return None
        if all(part["kind"] == "text" for part in shown):
            return "\n".join(part["text"] for part in shown)
        return [_block(part) for part in shown]


def said(raw: Any) -> A2aMessage:
    """Reads a client's message in either dialect.

    Raises:
        A2aError: a field is missing or of the wrong type; the text names it.
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
    """Returns the thread id of a context in canonical spelling, or None if no context is named.

    Raises:
        A2aError: the value is not a UUID.
    """
    text = optional_text(value, place)
    found = parse_id(text) if text else None
    if text and found is None:
        raise invalid(f"{place} must be a UUID", {"thread_id": text, "error_type": "thread_not_found"})
    return found


def optional_text(value: Any, place: str) -> str | None:
    """Returns a text, or None for null and `""`.

    Raises:
        A2aError: the value is something else.
    """
    if not isinstance(value, str | None):
        raise invalid(f"{place} must be a text")
    return value or None


def length(value: Any, place: str, *, least: int = 0, most: int = 2**31) -> int | None:
    """Returns an integer within bounds, or None for null.

    Raises:
        A2aError: the value is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"{place} must be a whole number from {least} to {most}")
    return value


def _part(part: Any, place: str) -> Object:
    """Converts a part of either dialect to one of 0.3."""
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
    """Converts a text or file part to a content block of a chat message."""
    if part["kind"] == "text":
        return {"type": "text", "text": part["text"]}
    file = part["file"]
    mime = file.get("mimeType", "application/octet-stream")
    family = mime.split("/")[0]
    where = {"url": file["uri"]} if "uri" in file else {"base64": file["bytes"]}
    block = {"type": family if family in ("image", "audio", "video") else "file", **where, "mime_type": mime}
    return {**block, "extras": {"filename": file["name"]}} if "name" in file else block


def parts_of(content: Any) -> list[Object]:
    """Converts the content of a chat message to parts: its texts, adjacent ones joined, and its files."""
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
    """Returns a text as a part."""
    return {"kind": "text", "text": text}


def data_part(value: Any) -> Object:
    """Returns a value as a part. A value that is not an object is put into one, under the key `value`."""
    return {"kind": "data", "data": value if isinstance(value, dict) else {"value": value}}


def derived(run_id: str, what: str) -> str:
    """Returns an id that is derived from a run's id. It is the same on every call."""
    return str(uuid.uuid5(uuid.UUID(run_id), what))


class Dialect:
    """Encodes one task in a dialect.

    Args:
        modern: whether the dialect is 1.0.
    """

    def __init__(self, modern: bool, task_id: str) -> None:
        self.modern = modern
        self.task_id = task_id
        self.context_id = task_id.partition(":")[0]

    def task(self, status: Object, history: list[Object], artifacts: list[Object] | None) -> Object:
        """Encodes the whole task. With `artifacts` None the field is left out."""
        task: Object = {"id": self.task_id, "contextId": self.context_id, "status": status, "history": history}
        if artifacts is not None:
            task["artifacts"] = artifacts
        return self._kind("task", task)

    def message(self, role: Role, parts: Sequence[Object], message_id: str, task_id: str | None = None) -> Object:
        """Encodes a message of this context. It belongs to this task unless `task_id` names another one (`""`: to no task)."""
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
        """Encodes the status of a task; `at` in microseconds."""
        status: Object = {"state": _MODERN_STATES[state] if self.modern else state, "timestamp": iso(at)}
        if message is not None:
            status["message"] = message
        return status

    def artifact(self, artifact_id: str, name: str, description: str, parts: Sequence[Object]) -> Object:
        """Encodes an artifact."""
        return {"artifactId": artifact_id, "name": name, "description": description, "parts": self.parts(parts)}

    def parts(self, parts: Sequence[Object]) -> list[Object]:
        """Converts parts to the dialect."""
        return [_modern_part(part) for part in parts] if self.modern else list(parts)

    def event(self, task: Object) -> Object:
        """Encodes a task as a stream item and as the response to a message."""
        return {"task": task} if self.modern else task

    def status_event(self, status: Object, *, final: bool) -> Object:
        """Encodes a change of the status as a stream item."""
        update = {"taskId": self.task_id, "contextId": self.context_id, "status": status}
        return {"statusUpdate": update} if self.modern else {**update, "kind": "status-update", "final": final}

    def artifact_event(self, artifact: Object) -> Object:
        """Encodes a whole artifact as a stream item."""
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
