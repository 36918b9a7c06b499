"""SQL as named queries: every query of a `.sql` file has a name line and a sentence that says what it does.

-- name: get_thread
-- One thread by id, without its values.
SELECT …;
"""

import functools
import operator
import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from threadloom.storage.rows import LISTS

_LIST = re.compile(r"\{([\w.]+)\}")
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(package: str, file: str) -> dict[str, str]:
    """Returns the queries of a `.sql` file of a package, by name.

    The text has no comment lines. Placeholders such as `{run}` are replaced by the columns of records (see `storage.rows.LISTS`).

    Raises:
        ValueError: two queries have the same name.
    """
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    parts = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in queries:
            raise ValueError(f"{file}: query {name} is there twice")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        query = "\n".join(lines).strip().rstrip(";")
        queries[name] = _LIST.sub(lambda found: LISTS[found[1]] if found[1] in LISTS else found[0], query)
    return queries


def numbered(statement: str, mark: str) -> tuple[str, tuple[str, ...]]:
    """Returns a statement with numbered instead of named parameters, and the names in order of the numbers.

    Args:
        mark: the character before a number: `$` or `?`.
    """
    names = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
    return _PARAMETER.sub(lambda found: f"{mark}{names.index(found[1]) + 1}", statement), names


@functools.cache
def _prepared(statement: str, mark: str) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    text, names = numbered(statement, mark)
    return text, operator.itemgetter(*names)


def bound(statement: str, row: Mapping[str, Any], mark: str = "?") -> tuple[str, tuple[Any, ...]]:
    """Returns a statement with numbered parameters, and their values from a row by name. (SQLite looks up each name.)

    The statement is cached for ever, so its text must not depend on the values. It has at least two parameters. Args as in
    `numbered`.
    """
    text, values = _prepared(statement, mark)
    return text, values(row)
