"""The responses of the operations, as the server sends them. Dates are ISO 8601 texts."""

from typing import Any, Literal, NotRequired, TypedDict

from langgraph_sdk.schema import Thread


class MapTurn(TypedDict):
    """A message of a thread, on any of its branches.

    `before` is the root checkpoint to start a run from so that the message is replaced, None: the start of the thread. `after` is
    the first root checkpoint that has the message. `parent` is the index of the message before it, and `siblings` are the indices
    of the messages at the same place, the oldest first, with its own.
    """

    message_id: str | None
    role: str | None
    before: str | None
    after: str
    run_id: str | None
    created_at: str | None
    parent: int | None
    siblings: list[int]
    active: bool
    copies: list[str]


class Branches(TypedDict):
    """The map of a thread. `head` is its newest root checkpoint. `copies` left before the first turn, or at a checkpoint that was
    removed.
    """

    thread_id: str
    head: str | None
    turns: list[MapTurn]
    copies: list[str]
    checkpoints: int
    truncated: bool


class CopyEnd(TypedDict):
    """Where a copy ends. `moved`: the cut was moved so that it does not separate a tool call from its result. `message` is the
    human message before which the copy ends.
    """

    checkpoint_id: str | None
    checkpoint_ns: str
    message_id: str | None
    at: Literal["before", "after"] | None
    moved: bool
    message: NotRequired[dict[str, Any]]


class CopiedThread(Thread):
    """The record of a copy."""

    forked_from: dict[str, Any]
    root_thread_id: str
    cut: NotRequired[CopyEnd]


class LineageThread(TypedDict):
    """A thread of a tree of copies. A hidden one has no id: the caller may not read it, and it connects threads that the caller
    may read.
    """

    thread_id: str | None
    parent: str | None
    depth: int
    checkpoint_id: str | None
    at: str | None
    deleted: bool
    hidden: bool
    status: str | None
    updated_at: str | None
    metadata: dict[str, Any] | None


class ThreadLineage(TypedDict):
    """A tree of copies in preorder: each thread follows the one above it, and its `depth` says which that is."""

    root_thread_id: str | None
    threads: list[LineageThread]
    truncated: bool


class ChannelDifference(TypedDict):
    """What two states have in a channel."""

    change: Literal["added", "removed", "changed", "same"]
    a: NotRequired[Any]
    b: NotRequired[Any]


class MessageDifference(TypedDict):
    """What two states have as the message with this id."""

    id: str | None
    change: Literal["added", "removed", "changed", "same"]
    a: NotRequired[dict[str, Any]]
    b: NotRequired[dict[str, Any]]


class Comparison(TypedDict):
    """How two threads differ. `common` is None for threads that are no copies of one thread."""

    a: dict[str, Any]
    b: dict[str, Any]
    common: dict[str, Any] | None
    first_difference: dict[str, str | None] | None
    equal: bool
    channels: NotRequired[dict[str, ChannelDifference]]
    messages: NotRequired[list[MessageDifference]]


Move = TypedDict("Move", {"from": str | None, "to": str | None})
"""The newest root checkpoint before and after a thread's head was moved."""


class ThreadAfterMove(Thread):
    """The record of a thread whose head was moved."""

    moved: Move


class ThreadTag(TypedDict):
    """A name for a checkpoint. It stands wherever an id of a checkpoint does."""

    name: str
    checkpoint_id: str
    created_at: str
    updated_at: str
