"""Assistants in a storage."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.types import Assistant

SORTED_BY: Mapping[str, str] = {name: name for name in ("assistant_id", "created_at", "updated_at", "name", "graph_id")}
"""The column for each `sort_by`. A storage sorts by `name` without regard to case. Ties keep the order of creation."""


class AssistantQuery(msgspec.Struct, kw_only=True):
    """The conditions, page and order of a search for assistants.

    `name` is a part of the name, without regard to case. Only assistants of `graphs` match. `where` is the caller's filter.
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
        """Stores a new assistant and its first version. Returns False when the id is taken; nothing was stored then."""
        ...

    async def get(self, assistant_id: str) -> Assistant | None:
        """Returns the assistant in its current version, or None."""
        ...

    async def lock(self, assistant_id: str) -> None:
        """Locks an assistant until the transaction ends, so that no other transaction changes it. Readers do not wait.

        A transaction calls this first if it reads an assistant and changes it depending on what it read.
        """
        ...

    async def add_version(self, assistant: Assistant) -> Assistant:
        """Stores a new version, numbered highest ever + 1, and makes it current. The assistant exists.

        Returns:
            The assistant with the number of its new version.
        """
        ...

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        """Returns versions of an assistant, the newest first; `created_at` is when that version was made. Empty for an
        unknown id.

        Args:
            metadata: only versions that contain this.
        """
        ...

    async def version(self, assistant_id: str, number: int) -> Assistant | None:
        """Returns one version by its number, or None; `created_at` is when that version was made."""
        ...

    async def set_current(self, assistant: Assistant) -> None:
        """Makes an existing version current: the record takes the content and number given. Versions are not changed."""
        ...

    async def restate(self, assistant: Assistant) -> None:
        """Changes description, config and context of the version named by `assistant.version` in place, and of the
        record if that version is current. No new version is made.
        """
        ...

    async def delete(self, assistant_id: str) -> bool:
        """Removes an assistant with all its versions. Returns False when there was none."""
        ...

    async def search(self, query: AssistantQuery) -> list[Assistant]:
        """Returns one page of assistants in their current versions. Equal sort keys keep the order of creation."""
        ...

    async def count(self, query: AssistantQuery) -> int:
        """Returns how many assistants match; `limit`, `offset` and the order have no effect."""
        ...
