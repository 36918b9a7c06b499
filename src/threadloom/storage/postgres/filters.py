"""Filters as SQL: the one place where a `storage.filters.Filter` becomes a condition on PostgreSQL.

Conditions are on the `search` column of a record (see `documents`), and use its index where possible.
"""

from typing import Any

from threadloom.storage.filters import AllOf, AnyOf, Contains, Equals, Filter
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.documents import NoDocument, dump, operand

LARGEST = 40
"""Number of parts of a filter above which the function `tl_permits` evaluates it: planning long conditions takes long."""


class Arguments(list[Any]):
    """The values of a query's numbered parameters."""

    def put(self, value: Any) -> str:
        """Adds a value and returns its placeholder."""
        self.append(value)
        return f"${len(self)}"

    def json(self, document: str) -> str:
        """Adds a document in the searchable form and returns its placeholder."""
        return f"{self.put(document)}::jsonb"


class Literals(Arguments):
    """Puts values into the query's text instead of parameters.

    So the planner sees them. A value may match few rows or all, and a plan for any value suits neither case. The query is planned
    each time, which is affordable for a search.
    """

    def put(self, value: Any) -> str:
        match value:
            case None:
                return "NULL"
            case bool() | int():
                return str(value)
            case str():
                return _quoted(escaped(value))
            case bytes():
                return f"'\\x{value.hex()}'"
            case list():
                return f"ARRAY[{', '.join(map(self.put, value))}]"
            case _:
                raise TypeError(f"no literal of {type(value).__name__} is needed")

    def json(self, document: str) -> str:
        return f"{_quoted(document)}::jsonb"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def condition(filter: Filter, document: str, arguments: Arguments) -> str:
    """Returns the condition that the filter permits a record; its values are added to `arguments`.

    Args:
        document: the column with the record's searchable metadata.
    """
    if _size(filter) > LARGEST:
        return f"tl_permits({document}, {arguments.json(dump(_tree(filter)))})"
    return _compile(filter, document, arguments)


def _size(filter: Filter) -> int:
    match filter:
        case AllOf(parts) | AnyOf(parts):
            return 1 + sum(map(_size, parts))
        case _:
            return 1


def _compile(filter: Filter, document: str, arguments: Arguments) -> str:
    match filter:
        case AllOf(parts):
            return f"({' AND '.join(_compile(part, document, arguments) for part in parts) or 'true'})"
        case AnyOf(parts):
            return f"({' OR '.join(_compile(part, document, arguments) for part in parts) or 'false'})"
        case Equals(field, value):
            try:
                key, wanted = operand(field), operand(value)
            except NoDocument:
                return "false"
            holds = _contains(document, {key: wanted}, arguments)
            if isinstance(wanted, dict | list):
                found = field_of(document, key, arguments)
                holds = f"({holds} AND {found} = {arguments.json(dump(wanted))})"
            return holds
        case Contains(field, members):
            try:
                key, each = operand(field), [operand(member) for member in members]
            except NoDocument:
                return "false"
            conditions = [_contains(document, {key: each}, arguments)]
            conditions += [_holds(document, key, one, arguments) for one in each if isinstance(one, dict | list)]
            return f"({' AND '.join(conditions)})"


def field_of(document: str, key: str, arguments: Arguments) -> str:
    """Returns the SQL for a field of a document. The name of the field is passed as JSON, because a text parameter is escaped
    differently.
    """
    return f"({document} -> ({arguments.json(dump([key]))} ->> 0))"


def _contains(document: str, wanted: Any, arguments: Arguments) -> str:
    """Returns the SQL for containment. It is equality for a plain value, in a form that an index supports."""
    return f"{document} @> {arguments.json(dump(wanted))}"


def _holds(document: str, key: str, member: Any, arguments: Arguments) -> str:
    """Returns the SQL that a field is a list with a member that equals an object or a list."""
    found = field_of(document, key, arguments)
    elements = f"jsonb_array_elements(CASE jsonb_typeof({found}) WHEN 'array' THEN {found} ELSE '[]' END)"
    return f"EXISTS (SELECT 1 FROM {elements} AS e (held) WHERE held = {arguments.json(dump(member))})"


def _tree(filter: Filter) -> list[Any]:
    """Returns a filter as JSON for `tl_permits`."""
    match filter:
        case AllOf(parts):
            return ["all", [_tree(part) for part in parts]]
        case AnyOf(parts):
            return ["any", [_tree(part) for part in parts]]
        case Equals(field, value):
            kind, field, wanted = "equals", field, value
        case Contains(field, members):
            kind, field, wanted = "contains", field, list(members)
    try:
        return [kind, operand(field), operand(wanted)]
    except NoDocument:
        return ["never"]
