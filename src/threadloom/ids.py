"""Ids: UUIDs, always shown lower-case with dashes."""

import functools
import uuid

import uuid_utils

GRAPH_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""Namespace of the ids of the graphs' own assistants (docs/contract/assistants.md#default-assistants)."""


def new_id() -> str:
    """A fresh UUIDv7: sorts by the time it was made."""
    return str(uuid_utils.uuid7())


def parse_id(text: str) -> str | None:
    """The canonical spelling of a UUID given in any spelling that `uuid.UUID()` takes, or None."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        return None


@functools.lru_cache(maxsize=1024)
def default_assistant_id(graph_id: str) -> str:
    """The id of the assistant that each graph has from the start."""
    return str(uuid.uuid5(GRAPH_NAMESPACE, graph_id))
