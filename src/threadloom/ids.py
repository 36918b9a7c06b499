"""Ids: UUIDs, written in lower case with dashes."""

import functools
import uuid

import uuid_utils

GRAPH_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""Namespace of the ids of default assistants (docs/contract/assistants.md#default-assistants)."""


def new_id() -> str:
    """Returns a new UUIDv7. UUIDv7s sort by their time of creation."""
    return str(uuid_utils.uuid7())


def parse_id(text: str) -> str | None:
    """Returns the canonical spelling of a UUID in any spelling that `uuid.UUID()` accepts, or None if the text is not a UUID."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        return None


@functools.lru_cache(maxsize=1024)
def default_assistant_id(graph_id: str) -> str:
    """Returns the id of the default assistant of a graph."""
    return str(uuid.uuid5(GRAPH_NAMESPACE, graph_id))
