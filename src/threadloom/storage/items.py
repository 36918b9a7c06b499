"""Items of the long-term store: their protocol, and the meaning of a filter.

Filters mean the same on every storage, so their meaning is defined here in plain Python. A storage may skip rows early, but
`matches` decides.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from threadloom.errors import BadRequest
from threadloom.types import Item

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte"]
OPERATORS: dict[str, Operator] = {"$eq": "eq", "$ne": "ne", "$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


NARROWING = 20
"""Maximum number of conditions of a search that become SQL, to limit the size of an expression. `matches` checks all of them."""


class UnsupportedOperator(BadRequest, ValueError):
    """A filter uses an unknown operator. It is also a `ValueError`, which graphs expect."""


class Condition(msgspec.Struct, frozen=True):
    """A condition on one top-level field of a value."""

    field: str
    operator: Operator
    operand: Any


class ItemQuery(msgspec.Struct, kw_only=True):
    """The conditions, page and order of a search for items in a namespace and all namespaces below it.

    Without `vector`, the items updated last come first, then they are ordered by namespace and key (plain order). With `vector`
    (`float32`, little-endian, of unit length), items that have vectors of the same length come first, the most similar first. The
    others follow in plain order.
    """

    prefix: tuple[str, ...] = ()
    conditions: Sequence[Condition] = ()
    vector: bytes | None = None
    limit: int = 10
    offset: int = 0


class Items(Protocol):
    """Items of the store. An item whose time to live has ended at `now` does not exist for any of these methods."""

    async def put(self, item: Item, vectors: Sequence[bytes], now: int) -> None:
        """Stores an item and replaces the one with the same namespace and key, whose `created_at` is kept.

        Args:
            vectors: for semantic search: `float32`, little-endian, of unit length. They replace all earlier ones; empty for none.
        """
        ...

    async def get(self, namespace: tuple[str, ...], key: str, now: int) -> Item | None:
        """Returns an item, or None."""
        ...

    async def refresh(self, item_keys: Sequence[tuple[tuple[str, ...], str]], now: int) -> None:
        """Restarts the time to live of items at `now`. Does nothing to items without one and to items that do not exist.

        Args:
            item_keys: pairs of namespace and key.
        """
        ...

    async def delete(self, namespace: tuple[str, ...], key: str) -> None:
        """Removes an item with its vectors, if it is there."""
        ...

    async def search(self, query: ItemQuery, now: int) -> list[Item]:
        """Returns one page of items. A query with a vector must be run by `Storage.read`, because it fills a cache of committed
        vectors.
        """
        ...

    async def warm(self, dims: int, now: int) -> None:
        """Fills the cache for searches by vectors of `dims` numbers; may do nothing. Call it in a heavy read."""
        ...

    async def namespaces(self, prefix: tuple[str, ...], now: int) -> list[tuple[str, ...]]:
        """Returns the namespaces at and below `prefix` that contain an item, each once, sorted label by label."""
        ...

    async def sweep(self, now: int, limit: int) -> int:
        """Removes at most `limit` items that expired at or before `now`. Returns how many."""
        ...


def encode(namespace: tuple[str, ...]) -> bytes:
    """Returns the stored form of a namespace. It sorts label by label, and a prefix of labels is a prefix of the bytes."""
    return b"".join(label.encode() + b"\0" for label in namespace)


def decode(namespace: bytes) -> tuple[str, ...]:
    """Returns the namespace from its stored form."""
    return tuple(namespace.decode().split("\0")[:-1])


def conditions(filter: Mapping[str, Any] | None) -> list[Condition]:
    """Returns the conditions of a filter as a client sends it. `{"$gt": 1, …}` under a field are operators; any other value means
    equality.

    Raises:
        UnsupportedOperator: an operator is unknown; the error names it.
    """
    found: list[Condition] = []
    for field, wanted in (filter or {}).items():
        if isinstance(wanted, Mapping) and any(str(key).startswith("$") for key in wanted):
            for name, operand in wanted.items():
                if name not in OPERATORS:
                    raise UnsupportedOperator(f"Unsupported operator: {name}")
                found.append(Condition(field, OPERATORS[name], operand))
        else:
            found.append(Condition(field, "eq", wanted))
    return found


def matches(wanted: Sequence[Condition], fields: Mapping[str, Any]) -> bool:
    """Returns whether the top-level fields of a value meet every condition."""
    return all(_holds(condition, fields) for condition in wanted)


def _holds(condition: Condition, fields: Mapping[str, Any]) -> bool:
    there = condition.field in fields
    value = fields.get(condition.field)
    operand = condition.operand
    if condition.operator == "eq":
        return there and same(value, operand)
    if condition.operator == "ne":
        return not (there and same(value, operand))
    if not (_number(value) and _number(operand)) and not (isinstance(value, str) and isinstance(operand, str)):
        return False
    match condition.operator:
        case "gt":
            return bool(value > operand)
        case "gte":
            return bool(value >= operand)
        case "lt":
            return bool(value < operand)
        case _:
            return bool(value <= operand)


def same(one: Any, other: Any) -> bool:
    """Returns whether two JSON values are equal. Numbers compare by value, and booleans are not numbers."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def reader(wanted: Sequence[Condition]) -> Callable[[bytes], dict[str, Any]]:
    """Returns a function that reads only the top-level fields named in conditions from a JSON object, several times as fast as a
    full parse.
    """
    return _reader(tuple(sorted({condition.field for condition in wanted})))


@functools.lru_cache(maxsize=256)
def _reader(names: tuple[str, ...]) -> Callable[[bytes], dict[str, Any]]:
    if any(not name.isprintable() or '"' in name or "\\" in name for name in names):
        return msgspec.json.decode  # a struct cannot have such field names
    attributes = {f"field{number}": name for number, name in enumerate(names)}
    kind = msgspec.defstruct(
        "Fields",
        [(attribute, Any, msgspec.field(default=msgspec.UNSET)) for attribute in attributes],
        rename=attributes,
        gc=False,
    )
    decoder = msgspec.json.Decoder(kind)

    def read(value: bytes) -> dict[str, Any]:
        fields = decoder.decode(value)
        present = ((name, getattr(fields, attribute)) for attribute, name in attributes.items())
        return {name: value for name, value in present if value is not msgspec.UNSET}

    return read
