"""CONTRIBUTING.md names what is there: files, folders, targets of make, modules that write pages."""

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = ("request field", "response field", "stream mode", "CLI verb", "storage operation", "checkpoint column")


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:src|tests|docs|examples|\.ci)/[\w./-]*)", TEXT))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_each_recipe_names_its_files() -> None:
    for recipe in RECIPES:
        _, found, rest = TEXT.partition(f" {recipe}\n")
        steps = rest.partition("\n### ")[0]
        assert found, recipe
        assert len(re.findall(r"`(?:src|tests)/[\w./]+`", steps)) >= 4, recipe


def test_targets_and_modules_that_are_named_exist() -> None:
    targets = {word for words in re.findall(r"`make ([a-z ]+)`", TEXT) for word in words.split()}
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets <= made
    assert all(find_spec(module) for module in re.findall(r"python -m ([\w.]+)", TEXT))


def test_the_readme_leads_here() -> None:
    assert "CONTRIBUTING.md" in (ROOT / "README.md").read_text()
