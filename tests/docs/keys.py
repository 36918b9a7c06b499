"""Finds what a configuration may say by watching its own readers, so that no list of keys can fall behind the code."""

import contextlib
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from threadloom.config import Settings, load
from threadloom.config.sections import Section
from threadloom.config.settings import ImageSettings
from threadloom.errors import ConfigError

KINDS = {
    "text": "text",
    "flag": "true or false",
    "integer": "whole number",
    "number": "number",
    "texts": "list of texts",
    "integers": "list of whole numbers",
    "one_of": "one of",
    "mapping": "object",
    "raw": "other",
    "section": "section",
}
"""Methods of `Section`, and what `docs/settings.md` calls the value that each reads ("other": it says so itself)."""


class Key(msgspec.Struct):
    """A key: the kind of its value, what counts without it, and the only words that it takes, if it is of that kind."""

    kind: str
    default: Any = None
    words: tuple[str, ...] = ()


def settings_keys(folder: Path) -> dict[str, Key]:
    """Every key of `langgraph.json` by its dotted place; those of one graph stand under `graphs.*`.

    Begins with a document of one graph, and adds each object that is asked for until no new one is.

    Args:
        folder: where the document may be written.
    """
    document: dict[str, Any] = {"graphs": {"*": {"path": "./a.py:g"}}}
    file = folder / "langgraph.json"
    found: dict[str, Key] = {}
    while True:
        file.write_text(json.dumps(document))
        with _watched(found), contextlib.suppress(ConfigError):
            load(file, {})
        sections = [place for place, key in found.items() if key.kind == "section"]
        if not [place for place in sections if _added(document, place)]:
            break
    leaves = {place: key for place, key in found.items() if key.kind != "section"}
    for place, key in leaves.items():
        if key.default is None:
            key.default = struct_default(Settings, place) or struct_default(ImageSettings, place)
    return leaves


def struct_default(record: type[msgspec.Struct], place: str) -> Any:
    """The default of the field of that dotted name, in a record and the records within it; None if there is none."""
    name, _, rest = place.partition(".")
    field = next((field for field in msgspec.structs.fields(record) if field.name == name), None)
    if field is None:
        return None
    if rest:
        inner = _record_of(field.type)
        return None if inner is None else struct_default(inner, rest)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default


def _record_of(hint: Any) -> type[msgspec.Struct] | None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((one for one in options if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)


def _added(document: dict[str, Any], place: str) -> bool:
    """Whether the object at a dotted place was not there and now is."""
    parent: dict[str, Any] = document
    *above, name = place.split(".")
    for part in above:
        parent = parent[part]
    new = name not in parent
    parent.setdefault(name, {})
    return new


@contextlib.contextmanager
def _watched(found: dict[str, Key]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name in KINDS:
            stack.enter_context(patch.object(Section, name, _watching(getattr(Section, name), name, found)))
        yield


def _watching(reader: Any, name: str, found: dict[str, Key]) -> Any:
    def read(section: Section, key: str, *given: Any, **named: Any) -> Any:
        place = section.at(key)
        known = found.get(place)
        if known is None or KINDS[name] == "section":
            known = found[place] = Key(KINDS[name])
        elif known.kind == "other":
            known.kind = KINDS[name]
        if name == "one_of":
            known.words = tuple(given[0])
        value = reader(section, key, *given, **named)
        if name in ("flag", "texts", "one_of") and key not in section.value:
            known.default = value
        return value

    return read
