"""Which events of a run or thread its reader is given (docs/contract/runs.md#stream-modes)."""

import re
from collections.abc import Sequence, Set

import msgspec

from threadloom.codec import to_json
from threadloom.services.event_filter import is_below
from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import check_count
from threadloom.types import CHECKPOINT_MARK, Event

FROM_THE_START = (0, 0)
"""The place before every event."""

NOWHERE = (2**62, 0)
"""The place after every event, which a text that is no id names."""

_ID = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
"""No more digits than a database's integer holds."""

_NAMES_OF_THE_START = ("-1", "-", "0", "0-0")

_HIDDEN = frozenset({"state_update", CHECKPOINT_MARK})
"""Modes of events that no reader of a single run is given."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What the reader of one run wants.

    Attributes:
        modes: stream modes; None gives all. How the run ends is told whatever they are.
        namespaces: only events of these graphs within the graph, each without those below it. `()` is the root; a segment
            without a task matches every task of that name. None gives all.
        end_event: whether the stream's last event is `end`.
    """

    modes: Set[str] | None = None
    namespaces: Sequence[tuple[str, ...]] | None = None
    end_event: bool = False

    def of(self, events: Sequence[Event]) -> Sequence[Event]:
        """Those of some events that the reader wants."""
        return [event for event in events if self._wants(event)]

    def _wants(self, event: Event) -> bool:
        if event.last:
            return self.end_event
        mode, _, told_namespace = event.mode.partition("|")
        if mode in _HIDDEN:
            return False
        if self.modes is not None and mode not in self.modes and event.name != "error":
            return False
        if self.namespaces is None or not mode:
            return True
        namespace = told_namespace or event.name.partition("|")[2]
        segments = namespace.split("|") if namespace else []
        return any(is_below(wanted, segments, depth=0) for wanted in self.namespaces)


def place_after(last_event_id: str | None) -> tuple[int, int] | None:
    """The place that an event id names; None without one, NOWHERE for a text that is none."""
    if not last_event_id:
        return None
    if last_event_id in _NAMES_OF_THE_START:
        return FROM_THE_START
    match = _ID.fullmatch(last_event_id)
    return (int(match[1]), int(match[2])) if match else NOWHERE


def namespaces_of(values: Sequence[str]) -> list[tuple[str, ...]] | None:
    """The namespaces of a query, each with `|` between its segments; `""` is the root. None when there is none.

    Raises:
        Invalid: there are too many. Each event is compared with each.
    """
    check_count(len(values), bounds.NAMESPACES, "namespace")
    return [tuple(value.split("|")) if value else () for value in values] or None


def of_thread(events: Sequence[Event], modes: Set[str]) -> Sequence[Event]:
    """Events for the reader of a thread: `run_modes`, `lifecycle` and `state_update` are unions of kinds of events."""
    wanted: list[Event] = []
    for event in events:
        if event.last:
            if modes & {"run_modes", "lifecycle"}:
                wanted.append(_run_done(event))
        elif event.mode == "state_update":
            if "state_update" in modes:
                wanted.append(event)
        elif event.mode == CHECKPOINT_MARK:
            continue
        elif "run_modes" in modes or (event.name == "metadata" and "lifecycle" in modes):
            wanted.append(event)
    return wanted


def _run_done(event: Event) -> Event:
    """How the end of a run shows in its thread's stream."""
    data = to_json({"status": "run_done", "run_id": event.run_id})
    return Event(
        thread_id=event.thread_id, run_id=event.run_id, name="metadata", data=data, ms=event.ms, n=event.n, last=True
    )
