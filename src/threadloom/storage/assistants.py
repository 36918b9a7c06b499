"""Assistants in a storage."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.types import Assistant

SORTED_BY: Mapping[str, str] = {name: name for name in ("assistant_id", "created_at", "updated_at", "name", "graph_id")}
"""What each `sort_by` sorts by; a storage sorts by `name` without regard to case. Ties keep the order of making."""


class AssistantQuery(msgspec.Struct, kw_only=True):
    """Which assistants, in which order. `name` is a case-blind part of the name; only those of `graphs` count.

    `where` is what the caller may see at all.
    """

    where: Filter | None = None
    metadata: Mapping[str, Any] | None = None
    graph_id: str | None = None
    name: str | None = None
    graphs: Sequence[str] | None = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True


class Assistants(Protocol):
    """Assistants in their current version, and all their versions."""

    async def insert(self, assistant: Assistant) -> bool:
        """Stores a new assistant and its first version. False when the id is taken."""
        ...

    async def get(self, assistant_id: str) -> Assistant | None: ...

    async def lock(self, assistant_id: str) -> None:
        """Lets nobody else change an assistant until the transaction ends. Who goes on from what it reads of one first does
        this; the many who only read must not wait for each other."""
        ...

    async def add_version(self, assistant: Assistant) -> Assistant:
        """Stores a new version (highest ever + 1) and makes it current; gives it back with its number."""
        ...

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        """Newest first; `created_at` is when that version was made."""
        ...

    async def version(self, assistant_id: str, number: int) -> Assistant | None: ...

    async def set_current(self, assistant: Assistant) -> None:
        """Writes an existing version's content and number into the current record."""
        ...

    async def restate(self, assistant: Assistant) -> None:
        """Changes description, config and context of a version in place, and the assistant's if that is its current one."""
        ...

    async def delete(self, assistant_id: str) -> bool:
        """Removes it with all versions."""
        ...

    async def search(self, query: AssistantQuery) -> list[Assistant]: ...

    async def count(self, query: AssistantQuery) -> int: ...
