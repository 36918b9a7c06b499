"""Filters that authorization puts on records: what they can say, and what that means.

The rule of a handler (`auth.authorize`) becomes a `Filter` over a record's metadata. Every storage compiles it into its
queries, so that searches, counts and pages obey it alike; `permits` is what the compiled form must agree with, and decides
wherever a single record was read anyway.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from threadloom.storage.items import same


class Equals(msgspec.Struct, frozen=True, tag=True):
    """The field is there and equals `value`: numbers by value, and truth values are no numbers."""

    field: str
    value: Any


class Contains(msgspec.Struct, frozen=True, tag=True):
    """The field is a list that holds each of `members`, in any order."""

    field: str
    members: Sequence[Any]


class AllOf(msgspec.Struct, frozen=True, tag=True):
    """Every part holds; without parts, everything does."""

    parts: Sequence["Filter"]


class AnyOf(msgspec.Struct, frozen=True, tag=True):
    """At least one part holds; without parts, nothing does."""

    parts: Sequence["Filter"]


Filter = Equals | Contains | AllOf | AnyOf


def permits(filter: Filter | None, metadata: Mapping[str, Any]) -> bool:
    """Whether a record with this metadata may be seen. Without a filter, every one may."""
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
