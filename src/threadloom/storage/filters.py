"""Filters that authorization adds to searches: their terms and their meaning.

The rule of a handler (`auth.authorize`) becomes a `Filter` over a record's metadata. Every storage compiles it into its queries,
so that searches, counts and pages all apply it. `permits` defines the meaning: the compiled form must agree with it, and it
decides for a single record that was read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from threadloom.storage.items import same


class Equals(msgspec.Struct, frozen=True, tag=True):
    """The field exists and equals `value`: numbers compare by value, and booleans are not numbers."""

    field: str
    value: Any


class Contains(msgspec.Struct, frozen=True, tag=True):
    """The field is a list that contains each of `members`, in any order."""

    field: str
    members: Sequence[Any]


class AllOf(msgspec.Struct, frozen=True, tag=True):
    """Every part is true. Without parts, it is true."""

    parts: Sequence["Filter"]


class AnyOf(msgspec.Struct, frozen=True, tag=True):
    """At least one part is true. Without parts, it is false."""

    parts: Sequence["Filter"]


Filter = Equals | Contains | AllOf | AnyOf


def permits(filter: Filter | None, metadata: Mapping[str, Any]) -> bool:
    """Returns whether the filter permits a record with this metadata. None permits every record."""
    match filter:
        case None:
            return True
        case Equals(field, value):
            return field in metadata and same(metadata[field], value)
        case Contains(field, members):
            held = metadata.get(field)
            return isinstance(held, list) and all(any(same(one, member) for one in held) for member in members)
        case AllOf(parts):
            return all(permits(part, metadata) for part in parts)
        case AnyOf(parts):
            return any(permits(part, metadata) for part in parts)
