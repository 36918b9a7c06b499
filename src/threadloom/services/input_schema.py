"""The input schema of an assistant, in the forms that MCP and A2A need."""

from typing import Any

Schema = dict[str, Any]

ANYTHING: Schema = {"type": "object"}
"""Used in place of a schema that is not known, or is not the schema of an object."""


def as_object(schema: Schema | None) -> Schema:
    """Returns a schema of an object: the given one, with a reference at its top resolved, or a schema of any object."""
    if schema is None:
        return ANYTHING
    reference = schema.get("$ref")
    definitions = schema.get("$defs", {})
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        found = definitions.get(reference.removeprefix("#/$defs/"), {})
        schema = {"$defs": definitions, **found}
    return schema if schema.get("type") == "object" else ANYTHING


def fields(schema: Schema | None) -> Schema:
    """Returns the schemas of an input's fields, by name."""
    properties: Schema = as_object(schema).get("properties", {})
    return properties


def takes_messages(schema: Schema | None) -> bool:
    """Returns whether an input has messages. True if the schema is not known."""
    return schema is None or "messages" in fields(schema)


def with_field(schema: Schema, name: str, field: Schema) -> Schema:
    """Returns the schema of an object with the schema of one field replaced, without the definitions that are then unused."""
    changed = {**schema, "properties": {**schema["properties"], name: field}}
    definitions = changed.pop("$defs", {})
    needed = _reached(changed, definitions)
    if needed:
        changed["$defs"] = {key: value for key, value in definitions.items() if key in needed}
    return changed


def _reached(schema: Schema, definitions: Schema) -> set[str]:
    """Returns the definitions that a schema refers to, directly or indirectly."""
    reached: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                name = reference.removeprefix("#/$defs/")
                if name in definitions and name not in reached:
                    reached.add(name)
                    waiting.append(definitions[name])
            waiting.extend(value.values())
    return reached
