"""Reads the tables of a Markdown page."""

import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
CELL = re.compile(r"(?<!\\)\|")


def rows(page: str, header: str) -> Iterator[list[str]]:
    """The cells of each row of every table that has a header beginning with a word.

    Args:
        page: the file's name in `docs/`.
        header: what the first cell of the header is.
    """
    inside = False
    for line in (DOCS / page).read_text("utf-8").splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in CELL.split(line)[1:-1]]
        if not cells:
            inside = False
        elif cells[0] == header:
            inside = True
        elif inside and not set(cells[0]) <= {"-", ":"}:
            yield cells


def codes(cell: str) -> list[str]:
    """The pieces of code in a cell."""
    return re.findall(r"`([^`]*)`", cell)
