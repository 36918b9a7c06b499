"""Types with limits that several request bodies use, and checks that a type cannot express."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, UnsetType

from threadloom.checkpointer import INTERNAL_KEYS
from threadloom.errors import Invalid
from threadloom.ids import parse_id
from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import check_count, check_size

Object = dict[str, Any]
Limit = Annotated[int, Meta(ge=1, le=1000, description="At most this many results.")]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1, description="Leave out this many results first.")]
SortOrder = Literal["asc", "desc"]
StreamMode = Literal[
    "values", "updates", "messages", "messages-tuple", "tasks", "checkpoints", "debug", "custom", "events", "lifecycle"
]
StreamModes = StreamMode | Annotated[list[StreamMode], Meta(max_length=bounds.MODES.most)]
Durability = Literal["async", "sync", "exit"]
NodeNames = Annotated[
    Literal["*"] | Annotated[list[str], Meta(max_length=bounds.NODES.most)],
    Meta(description='Names of nodes, or "*" for all. Unknown names do nothing.'),
]
Context = Annotated[Object, Meta(max_length=bounds.CONTEXT.most)]
Metadata = Annotated[Object, Meta(description="Any JSON object of the caller's.")]
Filter = Annotated[Object, Meta(description="Containment: all that is given must be found, deeply, with equal values.")]
Webhook = Annotated[str, Meta(min_length=1, max_length=65536, description="Called with the run when it has ended.")]
Config = Annotated[
    Object,
    Meta(
        description="Settings of the graph's call; further keys are kept.",
        extra_json_schema={
            "properties": {
                "tags": {"type": "array", "items": {"type": "string"}},
                "recursion_limit": {"type": "integer"},
                "configurable": {"type": "object"},
                "metadata": {"type": "object"},
            }
        },
    ),
]
Checkpoint = Annotated[
    Object,
    Meta(
        description="A place in a thread's history. Its `thread_id` is ignored: the path counts.",
        extra_json_schema={
            "properties": {
                "checkpoint_id": {"type": "string"},
                "checkpoint_ns": {"type": "string"},
                "checkpoint_map": {"type": ["object", "null"]},
                "thread_id": {"type": "string"},
            }
        },
    ),
]
StateFields = Annotated[
    str | list[str],
    Meta(description="Fields of the answer (list or comma-joined): a state's field, or `values.<key>`."),
]

STATE_FIELDS = ("values", "next", "tasks", "checkpoint", "metadata", "created_at", "parent_checkpoint", "interrupts")


class BadLabel(Invalid):
    """A namespace label that is not valid. The response is plain text (docs/contract/assistants.md#store-items)."""


def canonical(kind: str, text: str) -> str:
    """Returns an id in canonical spelling. `kind` is `thread`, `run`, `assistant`, `cron` or `delivery`.

    Raises:
        Invalid: the text is not a UUID.
    """
    found = parse_id(text)
    if found is None:
        raise Invalid(f"Invalid {kind} ID: must be a UUID")
    return found


_TAG = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z")


def is_tag_name(text: str) -> bool:
    """Returns whether a text can be the name of a tag: 1 to 64 ASCII letters, digits, `.`, `_` and `-`; neither a UUID, which is
    the id of a checkpoint, nor `.` or `..`, which clients remove from a path.
    """
    return _TAG.match(text) is not None and parse_id(text) is None


def checkpoint_text(text: str, field: str) -> str:
    """Returns what names a checkpoint: an id in canonical spelling, or a text that can be a tag.

    Raises:
        Invalid: it can be neither.
    """
    found = parse_id(text)
    if found is None and not is_tag_name(text):
        raise Invalid(f"{field}: {text!r:.100} is neither the id of a checkpoint nor the name of a tag")
    return found or text


def state_fields(select: str | list[str]) -> list[str] | None:
    """Returns the `select` of a state as a list of names; None means everything.

    Raises:
        Invalid: a name is not a field of a state.
    """
    parts = [select] if isinstance(select, str) else select
    names = [name.strip() for part in parts for name in part.split(",") if name.strip()]
    check_count(len(names), bounds.SELECT, "select")
    for name in names:
        if name not in STATE_FIELDS and not (name.startswith("values.") and len(name) > len("values.")):
            raise Invalid(f"select: {name!r} is none of {', '.join(STATE_FIELDS)} or values.<key>")
    return names or None


def check_labels(labels: list[str]) -> None:
    """Checks that no namespace label is empty or holds a period.

    Raises:
        BadLabel: with the first such label in its text.
        Invalid: there are too many labels.
    """
    check_count(len(labels), bounds.LABELS, "namespace")
    for label in labels:
        if not label or "." in label:
            raise BadLabel(f"Namespace label '{label}' must be a non-empty string without periods")


def check(value: Any, type_: Any, place: str) -> Any:
    """Converts `value` to `type_`. `place` names the value in the error.

    Raises:
        Invalid: the value does not match the type.
    """
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as refused:
        raise Invalid(f"{place}: {refused} (got {value!r:.200})") from None


def check_metadata(metadata: Object | UnsetType, field: str = "metadata") -> None:
    """Checks the size of metadata. They are stored several times with each run, and searched.

    Raises:
        Invalid: there are too many.
    """
    if metadata:
        check_size(metadata, bounds.METADATA, field)


def check_config(config: Object | UnsetType) -> None:
    """Checks the known keys of a `config`. Changes it in place: `2.0` becomes 2, and inner keys are removed (see `is_inner`).

    Raises:
        Invalid: a known key has a value of the wrong type.
    """
    if not config:
        return
    if "tags" in config:
        check(config["tags"], Annotated[list[str], Meta(max_length=bounds.TAGS.most)], "config.tags")
    for key in ("configurable", "metadata"):
        if key in config:
            check(config[key], Object, f"config.{key}")
    check_metadata(config.get("metadata", {}), "config.metadata")
    configurable = config.get("configurable", {})
    check_count(len(configurable), bounds.CONTEXT, "config.configurable")
    for key in [key for key in configurable if is_inner(key)]:
        del configurable[key]
    _check_checkpoint_keys(configurable, "config.configurable", str | None)
    limit = config.get("recursion_limit", 1)
    if isinstance(limit, float) and limit.is_integer():
        config["recursion_limit"] = limit = int(limit)
    check(limit, Annotated[int, Meta(ge=1, le=2**63 - 1)], "config.recursion_limit")


def check_checkpoint(checkpoint: Object | UnsetType) -> None:
    """Checks the members of a `checkpoint`: texts, except `checkpoint_map`, which is an object of texts or null, as in the types
    of the SDKs.

    Raises:
        Invalid: a member has another type.
    """
    if not checkpoint:
        return
    _check_checkpoint_keys(checkpoint, "checkpoint", str)
    if "thread_id" in checkpoint:
        check(checkpoint["thread_id"], str, "checkpoint.thread_id")


def _check_checkpoint_keys(place: Object, name: str, text: Any) -> None:
    """Checks the keys that name a checkpoint, if present. `text` is the type of its id and namespace."""
    for key in ("checkpoint_id", "checkpoint_ns"):
        if key in place:
            check(place[key], text, f"{name}.{key}")
    if place.get("checkpoint_map") is not None:
        check(
            place["checkpoint_map"],
            Annotated[dict[str, str], Meta(max_length=bounds.CHECKPOINT_MAP.most)],
            f"{name}.checkpoint_map",
        )


def is_inner(key: str) -> bool:
    """Returns whether an entry of `configurable` is internal to LangGraph (`__pregel_resuming`, `__pregel_send` ...) or to this
    server's checkpointer.

    Internal entries of a caller are dropped and not refused: `RemoteGraph` as a node sends the config of the graph around it,
    which has them.
    """
    return key.startswith("__pregel_") or key in INTERNAL_KEYS


def check_command(command: Object | None) -> None:
    """Checks `goto` and `update` of a command.

    Raises:
        Invalid: one of them has the wrong type, or is too long.
    """
    if not command:
        return
    for key, bound in (("goto", bounds.GOTO), ("update", bounds.UPDATES)):
        if isinstance(value := command.get(key), list):
            check_count(len(value), bound, f"command.{key}")
    if command.get("goto") is not None:
        goto = command["goto"]
        kind: Any = str | list[str]
        if isinstance(goto, dict):
            kind = SendTo
        elif isinstance(goto, list) and goto and isinstance(goto[0], dict):
            kind = list[SendTo]
        check(goto, kind, "command.goto")
    update = command.get("update")
    if isinstance(update, list):
        check(update, Annotated[list[tuple[str, Any]], Meta(max_length=bounds.UPDATES.most)], "command.update")
    else:
        check(update, Object | None, "command.update")


class SendTo(Struct, kw_only=True):
    """Starts a node with its own input."""

    node: str
    input: Any
