"""Limits of a single request, so that its execution does not delay others. `docs/limits.md` describes this table in words.

The cost of a request is a product of its parts: each condition of a filter is compared with each record, each path is followed in
each thread. Therefore each part has a limit. Limits of lists and texts are `msgspec.Meta` of their types, so that the interface
description shows them. Other limits are checked by `check_count`, `check_size` and `check_filter`.
"""

from typing import Any

import msgspec

from threadloom.errors import Invalid


class Bound(msgspec.Struct, frozen=True):
    """A limit. `most` is in the unit `unit`; `fields` are the request fields that it applies to."""

    most: int
    unit: str
    fields: str


BATCH = Bound(500, "runs", "`POST /runs/batch`")
PRUNE = Bound(5000, "entries", "`thread_ids` of a prune")
COPIES = Bound(1000, "copies", "`count` of a copy")
METADATA = Bound(10_000, "keys and list members, at all levels", "`metadata` of threads and runs")
GOTO = Bound(1000, "entries", "`command.goto`")
DEPTH = Bound(200, "levels of nesting", "any JSON body")
IDS = Bound(1000, "entries", "`ids` of a search, `run_ids` of a cancel")
FILTER = Bound(
    100, "keys and list members, at all levels", "`metadata` and `values` of searches and history, store `filter`"
)
FILTER_TEXT = Bound(65_536, "characters in all", "the same filters")
SELECT = Bound(100, "entries", "`select`, and `keys` of `state.get`")
PATHS = Bound(10, "entries", "`extract`")
PATH = Bound(1000, "characters", "a path of `extract` or of a store item's `index`")
STEPS = Bound(32, "steps", "a path of `extract`")
INDEX = Bound(100, "entries", "`index` of a store item")
INDEXED = Bound(
    4_000_000, "bytes to embed", "paths of `index` (each name within braces counts) times the size of `value`"
)
LABELS = Bound(100, "labels", "a `namespace` of the store, `namespace_prefix`, `prefix`, `suffix`")
MODES = Bound(100, "entries", "`stream_mode`")
NODES = Bound(1000, "entries", "`interrupt_before`, `interrupt_after`")
TAGS = Bound(100, "entries", "`config.tags`")
CONTEXT = Bound(1000, "entries", "`config.configurable`, `context`")
UPDATES = Bound(
    1000, "entries", "`supersteps`, their `updates` in all; `command.update` and `values` of a state as lists"
)
KEYS = Bound(100, "entries", "`feedback_keys`")
CHECKPOINT_MAP = Bound(1000, "entries", "`checkpoint_map`")
NAME = Bound(1000, "characters", "`name` of a search for assistants, `timezone`, `end_time`, `schedule`")
QUERY = Bound(65_536, "characters", "`query` of a store search")
CHANNELS = Bound(100, "entries", "`channels` of an event stream")
NAMESPACES = Bound(100, "entries", "`namespaces` of an event stream, `namespace` of a run's stream")
SEGMENTS = Bound(100, "segments", "`namespace` of a v2 command, and one of `namespaces`")
SUBSCRIPTIONS = Bound(1000, "subscriptions", "one web socket")
FOLLOWED = Bound(2000, "namespaces", "all subscriptions of one web socket together")
APPENDED = Bound(1000, "entries", "`message_ids` of an append")
ANSWERS = Bound(1000, "entries", "`responses` of `input.respond`")

TABLE: dict[str, Bound] = {name.lower(): bound for name, bound in list(globals().items()) if isinstance(bound, Bound)}
"""All limits, by name."""


def check_count(count: int, bound: Bound, field: str) -> None:
    """Checks a count against a limit.

    Raises:
        Invalid: the count is larger; the text names field and limit.
    """
    if count > bound.most:
        raise Invalid(f"{field}: {count} {bound.unit} are more than the limit of {bound.most}")


def check_size(value: Any, bound: Bound, field: str, text: Bound | None = None) -> None:
    """Checks the number of keys and list members of a JSON value against a limit, and its characters against another if there is
    one. Stops as soon as a limit is exceeded.

    Raises:
        Invalid: a limit is exceeded; the text names field and limit.
    """
    count = characters = 0
    left: list[Any] = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            characters += len(item)
        elif isinstance(item, dict):
            count += len(item)
            check_count(count, bound, field)
            characters += sum(map(len, item))
            left.extend(item.values())
        elif isinstance(item, list):
            count += len(item)
            check_count(count, bound, field)
            left.extend(item)
    if text is not None:
        check_count(characters, text, field)


def check_filter(wanted: Any, field: str) -> None:
    """Checks a filter, a JSON value, against `FILTER` and `FILTER_TEXT`. Raises as `check_size`."""
    if wanted:
        check_size(wanted, FILTER, field, FILTER_TEXT)
