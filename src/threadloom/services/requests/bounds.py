"""How much one request may ask for, so that answering it keeps nobody else waiting. `docs/limits.md` is this table in words.

A request costs what its parts multiply to. Each part therefore has a bound. Lists get theirs as `msgspec.Meta` of their types, so
that the interface description shows them; what no type can say is checked by `check_count` and `check_size`.
"""

from typing import Any

import msgspec

from threadloom.errors import Invalid


class Bound(msgspec.Struct, frozen=True):
    """A limit. `most` is in what `unit` says; `fields` are those that it holds for, as requests name them."""

    most: int
    unit: str
    fields: str


BATCH = Bound(500, "runs", "`POST /runs/batch`")
PRUNE = Bound(5000, "entries", "`thread_ids` of a prune")
METADATA = Bound(10_000, "keys and list members, at all levels", "`metadata` of threads and runs")
GOTO = Bound(100, "entries", "`command.goto`")
UPDATES = Bound(1000, "entries", "`supersteps`, their `updates` in all, `command.update`")

TABLE: dict[str, Bound] = {name.lower(): bound for name, bound in list(globals().items()) if isinstance(bound, Bound)}
"""All of them, by name."""


def check_count(count: int, bound: Bound, field: str) -> None:
    """Holds a count to a bound.

    Raises:
        Invalid: it is more; the text names field and limit.
    """
    if count > bound.most:
        raise Invalid(f"{field}: {count} {bound.unit} are more than the limit of {bound.most}")


def check_size(value: Any, bound: Bound, field: str) -> None:
    """Holds the keys and list members of a JSON value to a bound. Looks at no more of it than that allows.

    Raises:
        Invalid: there are more; the text names field and limit.
    """
    count = 0
    left: list[Any] = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict | list):
            count += len(item)
            check_count(count, bound, field)
            left.extend(item.values() if isinstance(item, dict) else item)
