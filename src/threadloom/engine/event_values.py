"""Makes the values of long events as they are stored: instructions over the earlier ones of a thread (`lineage.elements`)."""

import re
from collections.abc import Callable, Sequence

from threadloom.checkpointer.cache import Lru
from threadloom.checkpointer.versions import JSON_TYPE, Versions
from threadloom.lineage import elements
from threadloom.storage.events import EventValue
from threadloom.types import CHANNELS, Event

KEPT_KINDS = 10_000
"""Kinds of events, of all threads, whose newest value a process caches."""

_TASK = re.compile(r":[0-9a-f-]+")
"""The id of a task in a namespace. It differs in each step."""


class EventValues:
    """The newest values of the events of active threads. Thread-safe.

    Args:
        new_id: returns an id for a value (`Storage.new_blob_id`).
    """

    def __init__(self, new_id: Callable[[], int]) -> None:
        self._new_id = new_id
        self._versions = Versions(JSON_TYPE)
        self._newest: Lru[tuple[str, str, str], int] = Lru(KEPT_KINDS)

    def of(self, events: Sequence[Event], *, whole: bool = False) -> list[EventValue | None]:
        """Returns the values for events of one run, and caches them. None: the data are stored with the event.

        Args:
            whole: makes values that build on none made before this call.
        """
        if whole:
            for event in events:
                self._newest.pop(_kind(event))
        return [self._value(event) for event in events]

    def _value(self, event: Event) -> EventValue | None:
        data = event.data
        # Text with neither objects in it nor a list of texts has no elements.
        if len(data) < elements.SMALLEST or data[0] not in b"{[" or (data.find(b"{", 1) < 0 and b'","' not in data):
            return None
        kind = _kind(event)
        blob = self._versions.blob(self._new_id(), JSON_TYPE, data, self._newest.get(kind))
        self._newest.put(kind, blob.id)
        return EventValue(blob.id, blob.base, blob.data)


def _kind(event: Event) -> tuple[str, str, str]:
    """Returns what events have in common that are likely to have similar data: mode, name and namespace."""
    name = event.name
    if event.mode == CHANNELS:  # the namespace of a v2 event is the first field of its data
        name += event.data.partition(b',"timestamp":')[0].decode()
    return event.thread_id, event.mode, _TASK.sub("", name)
