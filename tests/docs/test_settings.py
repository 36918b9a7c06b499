"""`docs/settings.md` names exactly what the code reads: keys, variables, their kinds and defaults."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.keys import settings_keys, struct_default
from tests.docs.tables import codes, rows
from threadloom.config.environment import BLOCKS, OVERRIDES, VARIABLES
from threadloom.config.load import PASSED_OVER
from threadloom.config.settings import Environment

SOURCE = Path(__file__).parents[2] / "src" / "threadloom"
FROM_ENVIRONMENT = re.compile(r"environ(?:\.get\(|\.pop\(|\[)\s*[\"']([A-Z_0-9]+)[\"']")


def shown(value: Any) -> str:
    """A default as the page shows it."""
    if value in (None, "", (), {}):
        return "–"
    if isinstance(value, bool | dict | tuple | list):
        return f"`{json.dumps(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return settings_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def key_rows():
    return {codes(row[0])[0]: row[1:] for row in rows("settings.md", "Key")}


@pytest.fixture(scope="module")
def variable_rows():
    return {codes(row[0])[0]: row[1:] for row in rows("settings.md", "Variable")}


def test_every_key_is_explained_and_every_explained_key_is_read(keys, key_rows):
    read = set(keys) | set(PASSED_OVER)
    assert set(key_rows) - read == set(), "docs/settings.md explains keys that nobody reads"
    assert read - set(key_rows) == set(), "docs/settings.md lacks keys"


def test_the_kinds_of_keys_are_those_that_are_read(keys, key_rows):
    for place, key in ((place, key) for place, key in keys.items() if place in key_rows):
        kind = key_rows[place][0]
        if key.kind == "one of":
            assert [word for word in codes(kind) if word != "required"] == list(key.words), place
        elif key.kind != "other":
            assert kind.removesuffix(", required") == key.kind, place


def test_the_defaults_of_keys_are_those_that_count(keys, key_rows):
    for place, key in keys.items():
        if key.default is not None and place in key_rows:
            assert key_rows[place][1].startswith(shown(key.default)), place


def test_every_variable_is_explained_and_every_explained_variable_is_read(variable_rows):
    read = {name for main, variable in VARIABLES.items() for name in (main, *variable.names)}
    used = {name for file in SOURCE.rglob("*.py") for name in FROM_ENVIRONMENT.findall(file.read_text("utf-8"))}
    read |= set(BLOCKS.values()) | set(OVERRIDES) | used
    assert set(variable_rows) - read == set(), "docs/settings.md explains variables that nobody reads"
    assert read - set(variable_rows) == set(), "docs/settings.md lacks variables"


def test_kinds_and_defaults_of_variables_are_those_that_count(variable_rows):
    kinds = {
        "text": "text",
        "secret": "text",
        "integer": "whole number",
        "number": "number",
        "flag": "true or false",
        "list": "list, by commas",
    }
    for name, variable in VARIABLES.items():
        assert variable_rows[name][0] == kinds[variable.kind], name
        default = struct_default(Environment, name.lower())
        if default is not None:
            assert variable_rows[name][1].startswith(shown(default)), name


def test_no_effect_is_left_blank(key_rows, variable_rows):
    for name, cells in {**key_rows, **variable_rows}.items():
        assert len(cells) == 3, name
        assert all(cells), name
