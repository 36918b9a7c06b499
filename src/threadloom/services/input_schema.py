"""What an assistant takes, in the forms that other protocols show."""

from typing import Any

Schema = dict[str, Any]

ANYTHING: Schema = {"type": "object"}
"""Stands for a schema that cannot be told, or that is not one of an object."""


def as_object(schema: Schema | None) -> Schema:
    """The schema of an object: the one given, with a reference at its top followed; else that of any object."""
    if schema is None:
        return ANYTHING
    reference = schema.get("$ref")
    definitions = schema.get("$defs", {})
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        found = definitions.get(reference.removeprefix("#/$defs/"), {})
        schema = {"$defs": definitions, **found}
    return schema if schema.get("type") == "object" else ANYTHING


def fields(schema: Schema | None) -> Schema:
    """The fields of an input by name, with their schemas."""
    properties: Schema = as_object(schema).get("properties", {})
    return properties


def takes_messages(schema: Schema | None) -> bool:
    """Whether an input has messages, or may have: where the schema cannot be told."""
    return schema is None or "messages" in fields(schema)


def with_field(schema: Schema, name: str, field: Schema) -> Schema:
    """The schema of an object with one field shown as `field`, without the definitions that nothing needs any more."""
    changed = {**schema, "properties": {**schema["properties"], name: field}}
    definitions = changed.pop("$defs", {})
    needed = _reached(changed, definitions)
    if needed:
        changed["$defs"] = {key: value for key, value in definitions.items() if key in needed}
    return changed


def _reached(schema: Schema, definitions: Schema) -> set[str]:
    """The definitions that a schema refers to, directly or through others."""
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
