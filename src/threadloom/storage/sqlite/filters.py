"""Filters as SQL: the one place where a `storage.filters.Filter` becomes a condition on SQLite.

SQLite itself evaluates a simple comparison, after a text search, which costs a hundredth of parsing the document. Any comparison
for which SQLite might differ from `permits` is left to `permits`.
"""

import functools
import re
from typing import Any

import msgspec
import orjson

from threadloom.codec import to_json
from threadloom.storage.filters import AllOf, AnyOf, Contains, Equals, Filter, permits

Condition = tuple[str, dict[str, Any]]
"""SQL, and the values of its named parameters."""

LARGEST = 40
"""Number of parts of a filter above which `permits` evaluates it as a whole: SQLite limits the depth of an expression."""

PLAIN = re.compile(r"[A-Za-z0-9_-]+")
"""Names of fields that need no escaping in a JSON path."""

EXACT = 2**53
"""Whole numbers up to this are equal in every spelling."""


def condition(filter: Filter, document: str, name: str = "w") -> Condition:
    """Returns the condition that the filter permits a record.

    Args:
        document: the column with the record's metadata.
        name: a prefix for the names of the parameters.
    """
    compiler = _Compiler(document, name)
    sql = compiler.compile(filter) if _size(filter) <= LARGEST else compiler.asked(filter)
    return sql, compiler.arguments


def permitted(document: str | bytes | None, filter: str) -> bool:
    """The SQL function `permitted(document, filter)`: whether a filter, written as JSON, permits a document."""
    return document is not None and permits(_filter(filter), orjson.loads(document))


@functools.lru_cache(maxsize=256)
def _filter(text: str) -> Filter:
    filter: Filter = msgspec.json.decode(text, type=Filter)
    return filter


def _size(filter: Filter) -> int:
    match filter:
        case AllOf(parts) | AnyOf(parts):
            return 1 + sum(map(_size, parts))
        case _:
            return 1


class _Compiler:
    def __init__(self, document: str, name: str) -> None:
        self._document = document
        self._name = name
        self.arguments: dict[str, Any] = {}

    def compile(self, filter: Filter) -> str:
        match filter:
            case AllOf(parts):
                return f"({' AND '.join(map(self.compile, parts)) or '1'})"
            case AnyOf(parts):
                return f"({' OR '.join(map(self.compile, parts)) or '0'})"
            case Equals(field, value) if PLAIN.fullmatch(field):
                return self._equals(field, value) or self.asked(filter)
            case Contains(field, members) if members and all(isinstance(member, str) for member in members):
                there = [self._has(to_json(field).decode() + ":[")]
                there += [self._has(to_json(member).decode()) for member in members]
                return f"({' AND '.join([*there, self.asked(filter)])})"
            case _:
                return self.asked(filter)

    def asked(self, filter: Filter) -> str:
        return f"permitted({self._document}, {self._put(msgspec.json.encode(filter).decode())})"

    def _equals(self, field: str, value: Any) -> str | None:
        """Returns the SQL for the comparison, if SQLite evaluates it as `permits` does; otherwise None."""
        path = f"'$.\"{field}\"'"
        kind = f"json_type({self._document}, {path})"
        found = f"json_extract({self._document}, {path})"
        if value is None or isinstance(value, bool):
            return f"{kind} = '{to_json(value).decode()}'"
        if isinstance(value, str) and "\0" not in value:
            there = self._has(f'"{field}":{to_json(value).decode()}')
            return f"({there} AND {kind} = 'text' AND {found} = {self._put(value)})"
        if isinstance(value, int | float) and abs(value) <= EXACT:
            return f"({kind} IN ('integer', 'real') AND {found} = {self._put(value)})"
        return None

    def _has(self, text: str) -> str:
        """Returns the SQL for a text search in the document. The text is in every document that matches, because stored JSON is
        compact.
        """
        return f"instr({self._document}, {self._put(text)}) > 0"

    def _put(self, value: Any) -> str:
        name = f"{self._name}{len(self.arguments)}"
        self.arguments[name] = value
        return f":{name}"
