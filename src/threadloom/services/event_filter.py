"""Filters of v2 events (docs/contract/protocols.md#subscribing)."""

import functools
from collections.abc import Sequence
from typing import Any

import msgspec

from threadloom.errors import BadRequest
from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import check_count
from threadloom.types import METHODS, Event

_INPUT = "input."
CHANNELS = tuple(dict.fromkeys("input" if method.startswith(_INPUT) else method for method in METHODS))
NO_CHANNELS = "channels is required and must be a non-empty array"
_CUSTOM = "custom:"


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """The events that a reader wants.

    Attributes:
        methods: methods of the events.
        names: the names that custom events may have; None: any.
        namespaces: prefixes; a segment without a task matches every task of that name. Empty: all namespaces, at any depth.
        depth: the largest number of segments of an event's namespace after a prefix; None: any.
        since: only events with greater numbers.
    """

    methods: frozenset[str]
    names: frozenset[str] | None = None
    namespaces: tuple[tuple[str, ...], ...] = ()
    depth: int | None = None
    since: int = 0

    def passes(self, event: Event, decoded: "DecodedEvent | None" = None) -> bool:
        """Returns whether the reader wants an event, whatever the event's number.

        Args:
            decoded: the decoded fields of this event, shared by all filters that check it.
        """
        if event.name not in self.methods:
            return False
        decoded = decoded or DecodedEvent(event)
        if event.name == "custom" and self.names is not None and decoded.name not in self.names:
            return False
        if not self.namespaces:
            return True
        return any(is_below(prefix, decoded.namespace, self.depth) for prefix in self.namespaces)


class DecodedEvent:
    """The fields of an event's data that filters use. They are decoded on first use, and once for all filters."""

    def __init__(self, event: Event) -> None:
        self._data = event.data

    @functools.cached_property
    def name(self) -> str | None:
        """The name of a custom event; None if it has no name that is a text."""
        named = msgspec.json.decode(self._data, type=_Custom).data.name
        return named if isinstance(named, str) else None

    @functools.cached_property
    def namespace(self) -> list[str]:
        return msgspec.json.decode(self._data, type=_Namespaced).namespace


def is_below(prefix: tuple[str, ...], namespace: Sequence[str], depth: int | None) -> bool:
    """Returns whether a namespace begins with a prefix and has at most `depth` segments more (None: any number).

    A segment of the prefix without a task matches every task of that name.
    """
    if len(prefix) > len(namespace):
        return False
    for wanted, segment in zip(prefix, namespace, strict=False):
        if wanted != segment and (":" in wanted or segment.partition(":")[0] != wanted):
            return False
    return depth is None or len(namespace) - len(prefix) <= depth


class _Named(msgspec.Struct):
    name: Any = None


class _Custom(msgspec.Struct):
    data: _Named


class _Namespaced(msgspec.Struct):
    namespace: list[str]


def read_filter(body: Any) -> EventFilter:
    """Reads the filter of a request or subscription. Members of a wrong type, except `channels`, are ignored.

    Raises:
        BadRequest: `channels` is missing, empty, or names an unknown channel.
        Invalid: there are too many channels or namespaces, or they are too long.
    """
    channels = body.get("channels") if isinstance(body, dict) else None
    if not isinstance(channels, list) or not channels:
        raise BadRequest(NO_CHANNELS)
    check_count(len(channels), bounds.CHANNELS, "channels")
    unknown = [str(channel) for channel in channels if not _is_channel(channel)]
    if unknown:
        known = ", ".join(CHANNELS)
        raise BadRequest(
            f"channels contains unsupported entries: {', '.join(unknown)[:500]}. "
            f"Allowed: {known}, or any ``custom:<name>``."
        )
    names = frozenset(channel.removeprefix(_CUSTOM) for channel in channels if channel.startswith(_CUSTOM))
    methods = {method for method in METHODS if ("input" if method.startswith(_INPUT) else method) in channels}
    return EventFilter(
        methods=frozenset(methods | {"custom"} if names else methods),
        names=None if "custom" in channels or not names else names,
        namespaces=_namespaces(body.get("namespaces")),
        depth=_count(body.get("depth")),
        since=_count(body.get("since")) or 0,
    )


def _is_channel(channel: Any) -> bool:
    if not isinstance(channel, str):
        return False
    return channel in CHANNELS or (channel.startswith(_CUSTOM) and len(channel) > len(_CUSTOM))


def _namespaces(given: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(given, list) or not all(isinstance(one, list) for one in given):
        return ()
    if not all(isinstance(segment, str) for one in given for segment in one):
        return ()
    check_count(len(given), bounds.NAMESPACES, "namespaces")
    check_count(max(map(len, given), default=0), bounds.SEGMENTS, "namespaces")
    return tuple(tuple(one) for one in given)


def _count(given: Any) -> int | None:
    is_count = isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**63
    return given if is_count else None
