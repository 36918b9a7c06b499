"""Ids: UUIDs, written in lower case with dashes."""

import functools
import uuid

import uuid_utils

GRAPH_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""Namespace of the ids of default assistants (docs/contract/assistants.md#default-assistants)."""

_EPOCH_OF_V6 = 0x01B21DD213814000
"""The number of 100 ns between the epoch of UUIDv6 (1582) and 1970."""


def new_id() -> str:
    """Returns a new UUIDv7. UUIDv7s sort by their time of creation."""
    return str(uuid_utils.uuid7())


def parse_id(text: str) -> str | None:
    """Returns the canonical spelling of a UUID in any spelling that `uuid.UUID()` accepts, or None if the text is not a UUID."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        return None


def moment_of(id_: str) -> int | None:
    """Returns when a UUIDv6, such as the id of a checkpoint, was created, in microseconds since 1970. None for any other text."""
    if id_[14:15] != "6":
        return None
    try:
        return (int(id_[:8] + id_[9:13] + id_[15:18], 16) - _EPOCH_OF_V6) // 10
    except ValueError:
        return None


@functools.lru_cache(maxsize=1024)
def default_assistant_id(graph_id: str) -> str:
    """Returns the id of the default assistant of a graph."""
    return str(uuid.uuid5(GRAPH_NAMESPACE, graph_id))
