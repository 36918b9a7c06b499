"""What a caller may see, as SQL: the one place where a `storage.filters.Filter` becomes a condition on PostgreSQL.

Conditions are on the `search` column of a record (see `documents`), and use its index where they can.
"""

from typing import Any

from threadloom.storage.filters import AllOf, AnyOf, Contains, Equals, Filter
from threadloom.storage.postgres.connections import escaped
from threadloom.storage.postgres.documents import NoDocument, dump, operand

LARGEST = 40
"""Parts of a filter, beyond which the function `tl_permits` reads it: the planner takes its time over long conditions."""


class Arguments(list[Any]):
    """The values of a query's numbered parameters."""

    def put(self, value: Any) -> str:
        """What stands for a value."""
        self.append(value)
        return f"${len(self)}"

    def json(self, document: str) -> str:
        """What stands for a document in the form that is searched."""
        return f"{self.put(document)}::jsonb"


class Literals(Arguments):
    """Values that stand in the query's text. So the planner sees them: what a search looks for may be rare, or all there is,
    and a plan that is made for any value suits neither. It is made anew each time, which a search can afford."""

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
    """The condition that a record may be seen; its values are added to `arguments`.

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
    """The field of a document, whose name goes as JSON: a text parameter is stored in a form of its own."""
    return f"({document} -> ({arguments.json(dump([key]))} ->> 0))"


def _contains(document: str, wanted: Any, arguments: Arguments) -> str:
    """Containment: equality for a plain value, and what an index can look up."""
    return f"{document} @> {arguments.json(dump(wanted))}"


def _holds(document: str, key: str, member: Any, arguments: Arguments) -> str:
    """Whether a field is a list with a member that equals an object or a list."""
    found = field_of(document, key, arguments)
    elements = f"jsonb_array_elements(CASE jsonb_typeof({found}) WHEN 'array' THEN {found} ELSE '[]' END)"
    return f"EXISTS (SELECT 1 FROM {elements} AS e (held) WHERE held = {arguments.json(dump(member))})"


def _tree(filter: Filter) -> list[Any]:
    """A filter as `tl_permits` reads it."""
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
