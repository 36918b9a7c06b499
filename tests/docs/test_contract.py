"""`docs/contract/` speaks of everything that the API takes and gives: routes, parameters, fields of requests and answers."""

import re
from pathlib import Path
from typing import Any

from threadloom.api.docs import all_operations, document

TEXT = "\n".join(path.read_text() for path in sorted((Path(__file__).parents[2] / "docs" / "contract").glob("*.md")))
NAMED = set(re.findall(r"[\w-]+", "".join(re.findall(r"`[^`]*`", TEXT))))


def fields(schema: Any) -> set[str]:
    """The names of all properties in a schema, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(fields, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*map(fields, schema.values()))


def test_every_route_and_parameter_is_named() -> None:
    operations = [operation for operation in all_operations() if not operation.hidden]
    segments = {part for operation in operations for part in operation.path.split("/") if part and part[0] != "{"}
    parameters = {parameter.name for operation in operations for parameter in operation.query}
    assert sorted(part for part in segments if part not in TEXT) == []
    assert sorted(parameters - NAMED) == []


def test_every_field_of_requests_and_answers_is_named() -> None:
    missing = {name: fields(schema) - NAMED for name, schema in document()["components"]["schemas"].items()}
    assert {name: names for name, names in missing.items() if names} == {}
