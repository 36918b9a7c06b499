"""Parses the filter that a handler returns. An unclear filter is an error, which denies access.

See docs/contract/auth.md#filters.
"""

from collections.abc import Mapping
from typing import Any

from threadloom.codec import from_json, to_json
from threadloom.errors import Denied
from threadloom.storage.filters import AllOf, AnyOf, Contains, Equals, Filter

GROUPS: dict[str, type[AllOf] | type[AnyOf]] = {"$and": AllOf, "$or": AnyOf}
OPERATORS = ("$eq", "$contains")


def rule(filter: Mapping[Any, Any]) -> Filter:
    """Returns a handler's filter as a filter on metadata.

    Raises:
        Denied: status 500; it has an unknown operator, or it is no valid filter.
    """
    parts: list[Filter] = []
    for key, wanted in filter.items():
        if not isinstance(key, str):
            raise _invalid(f"a field must be text, got {key!r:.100}")
        if key in GROUPS:
            parts.append(_group(key, wanted))
        elif key.startswith("$"):
            raise _invalid(f"unknown operator {key!r:.100}")
        else:
            parts.extend(_field(key, wanted))
    return parts[0] if len(parts) == 1 else AllOf(parts)


def _group(operator: str, wanted: Any) -> Filter:
    if not isinstance(wanted, list | tuple) or len(wanted) < 2 or not all(isinstance(one, Mapping) for one in wanted):
        raise _invalid(f"The {operator} operator must be a list of at least 2 filter objects")
    return GROUPS[operator]([rule(one) for one in wanted])


def _field(field: str, wanted: Any) -> list[Filter]:
    if not isinstance(wanted, Mapping):
        return [Equals(field, _plain(wanted))]
    if not wanted:
        raise _invalid(f"field {field!r:.100} has an empty condition")
    parts: list[Filter] = []
    for operator, operand in wanted.items():
        if operator == "$eq":
            parts.append(Equals(field, _plain(operand)))
        elif operator == "$contains":
            members = _plain(operand)
            parts.append(Contains(field, members if isinstance(members, list) else [members]))
        else:
            raise _invalid(
                f"unknown operator {operator!r:.100} of field {field!r:.100}; there are {', '.join(OPERATORS)}"
            )
    return parts


def _plain(value: Any) -> Any:
    """Returns a value in the form in which the storage returns it: a UUID becomes a text, a tuple a list."""
    return value if isinstance(value, str) else from_json(to_json(value))


def _invalid(why: str) -> Denied:
    return Denied(500, f"Auth handler returned an invalid filter: {why}")
