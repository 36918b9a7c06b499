"""`extract` of a search: values that are read from thread records by path (docs/contract/threads.md#extract)."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from threadloom.types import Thread

_STEP = re.compile(r"\.([^.\[]*)|\[\s*(-?[0-9]+)\s*\]")
_ROOT = re.compile(r"[^.\[]*")
_DIGITS = 18
"""The largest number of digits of an index. No list is so long that more are needed."""

Path = tuple[str, list[str | int]]
"""A root, and the steps from it."""


def parse_path(path: str) -> Path | None:
    """Returns a path's root and its steps: a text for `.key`, a number for `[int]`. Empty keys are skipped.

    Returns None if the path cannot be parsed. Such a path has no value.
    """
    root = _ROOT.match(path)
    assert root is not None
    steps: list[str | int] = []
    end = root.end()
    while end < len(path):
        step = _STEP.match(path, end)
        if step is None:
            return None
        key, index = step.groups()
        if index is not None:
            if len(index) > _DIGITS:
                return None
            steps.append(int(index))
        elif key:
            steps.append(key)
        end = step.end()
    return root.group(), steps


def follow(document: Any, steps: list[str | int]) -> Any:
    """Returns the value at the end of the steps, or None if a step does not exist or its container has another type."""
    for step in steps:
        if isinstance(step, str):
            if not isinstance(document, Mapping) or step not in document:
                return None
        elif not isinstance(document, list) or not -len(document) <= step < len(document):
            return None
        document = document[step]
    return document


def extracted(thread: Thread, paths: Mapping[str, Path | None]) -> dict[str, Any]:
    """Returns `{alias: value}` for one thread. Roots are `values`, `metadata`, `config` and `interrupts`.

    Args:
        paths: results of `parse_path`, by alias.
    """
    found: dict[str, Any] = {}
    documents: dict[str, Any] = {"metadata": thread.metadata, "config": thread.config}
    for alias, path in paths.items():
        if path is None:
            found[alias] = None
            continue
        root, steps = path
        if root not in documents:
            documents[root] = _state(thread, root)
        found[alias] = follow(documents[root], steps)
    return found


def _state(thread: Thread, root: str) -> Any:
    if root == "values":
        return None if thread.values_json is None else orjson.loads(thread.values_json)
    return {} if thread.interrupts_json is None else orjson.loads(thread.interrupts_json)
