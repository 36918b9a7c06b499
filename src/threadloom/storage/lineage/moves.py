"""Moves of a thread's head, former heads and tags: a part of the protocol `Lineage`."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from threadloom.codec import from_json, to_json

MOST_FORMER_HEADS = 100
"""How many former heads of a thread are kept. A move of its head drops the oldest beyond that."""

MoveReason = Literal["reset", "promote", "undo"]


class FormerHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a thread saw before its head was moved.

    Attributes:
        head: a name that every reading method of `Lineage` takes for a thread id, and that shows the same as the thread did.
        checkpoint_id: the newest root checkpoint that it sees, None if there is none.
        moved_at: when the thread was moved away from it.
        reason: what moved the thread away.
        record: what the record of the thread showed with it, as the caller of the move gave it.
    """

    head: str
    checkpoint_id: str | None
    moved_at: int
    reason: MoveReason
    record: Mapping[str, Any]


def former_head(head: str, checkpoint_id: str | None, moved_at: int, reason: Any, record: str) -> FormerHead:
    """Returns a former head from its columns."""
    return FormerHead(
        head=head, checkpoint_id=checkpoint_id, moved_at=moved_at, reason=reason, record=from_json(record)
    )


def former_columns(former: FormerHead) -> tuple[str, str | None, int, str, str]:
    """Returns the columns of a former head, as `former_head` takes them."""
    return former.head, former.checkpoint_id, former.moved_at, former.reason, to_json(former.record).decode()


class Moved(msgspec.Struct, frozen=True):
    """The newest root checkpoints that a thread saw before and after its head was moved; None: it saw none."""

    before: str | None
    after: str | None


class Tag(msgspec.Struct, frozen=True):
    """A name for a root checkpoint of a thread. Moments are microseconds since 1970."""

    name: str
    checkpoint_id: str
    created_at: int
    updated_at: int


class HeadMoves(Protocol):
    """The part of `Lineage` that moves heads. A move starts a new era."""

    async def reset(self, thread_id: str, at: str, *, now: int, record: Mapping[str, Any]) -> Moved:
        """Makes the thread see what a copy of it at the root checkpoint `at` would see. The checkpoint may also be one that only
        a former head shows. What the thread saw becomes its newest former head. No payload is read.

        Args:
            now: the current time.
            record: what the record of the thread shows and `undo` is to give back, a JSON object.

        Raises:
            KeyError: neither the thread nor a former head sees a root checkpoint `at`.
        """
        ...

    async def promote(self, thread_id: str, source: str, *, now: int, record: Mapping[str, Any]) -> Moved:
        """Makes the thread see what another thread sees, otherwise as `reset`.

        Raises:
            ValueError: the other thread has no history.
        """
        ...

    async def undo(self, thread_id: str, *, now: int, record: Mapping[str, Any]) -> FormerHead | None:
        """Exchanges what the thread sees for its newest former head, with all pending writes. So a second call takes the first
        one back.

        Returns:
            The former head that the thread returned to (its `head` now shows what the thread saw before); None if the thread has
            none, and nothing was changed.
        """
        ...

    async def former_heads(self, thread_id: str) -> list[FormerHead]:
        """Returns the former heads of a thread, the last one first: at most `MOST_FORMER_HEADS`."""
        ...

    async def showing(self, thread_id: str, checkpoint_id: str) -> str | None:
        """Returns the name under which a root checkpoint can be read: the thread's id if the thread sees it, else the `head` of
        its newest former head that does. None: neither does.
        """
        ...

    async def tags(self, thread_id: str) -> list[Tag]:
        """Returns the tags of a thread, by name."""
        ...

    async def tag(self, thread_id: str, name: str) -> Tag | None:
        """Returns one tag of a thread, None if there is none."""
        ...

    async def set_tag(self, thread_id: str, tag: Tag) -> None:
        """Stores a tag. An existing one is moved: its `created_at` stays."""
        ...

    async def drop_tag(self, thread_id: str, name: str) -> bool:
        """Deletes a tag. Returns False if there was none."""
        ...
