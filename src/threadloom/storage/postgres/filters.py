"""What a caller may see, as SQL: the one place where a `storage.filters.Filter` becomes a condition on PostgreSQL.

Conditions are on the `search` column of a record (see `documents`), and use its index where they can.
"""

from typing import Any

from threadloom.storage.filters import AllOf, AnyOf, Contains, Equals, Filter
from threadloom.storage.postgres.documents import NoDocument, dump, operand

LARGEST = 40
"""Parts of a filter, beyond which the function `tl_permits` reads it: the planner takes its time over long conditions."""


class Arguments(list[Any]):
    """The values of a query's numbered parameters."""

    def put(self, value: Any) -> str:
        """The parameter that stands for a value."""
        self.append(value)
        return f"${len(self)}"


def condition(filter: Filter, document: str, arguments: Arguments) -> str:
    """The condition that a record may be seen; its values are added to `arguments`.

    Args:
        document: the column with the record's searchable metadata.
    """
    if _size(filter) > LARGEST:
        return f"tl_permits({document}, {arguments.put(dump(_tree(filter)))}::jsonb)"
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
                holds = f"({holds} AND {found} = {arguments.put(dump(wanted))}::jsonb)"
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
    return f"({document} -> ({arguments.put(dump([key]))}::jsonb ->> 0))"


def _contains(document: str, wanted: Any, arguments: Arguments) -> str:
    """Containment: equality for a plain value, and what an index can look up."""
    return f"{document} @> {arguments.put(dump(wanted))}::jsonb"


def _holds(document: str, key: str, member: Any, arguments: Arguments) -> str:
    """Whether a field is a list with a member that equals an object or a list."""
    found = field_of(document, key, arguments)
    elements = f"jsonb_array_elements(CASE jsonb_typeof({found}) WHEN 'array' THEN {found} ELSE '[]' END)"
    return f"EXISTS (SELECT 1 FROM {elements} AS e (held) WHERE held = {arguments.put(dump(member))}::jsonb)"


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
