"""Each promise of the README is the first sentence of the test that holds it."""

import ast
from pathlib import Path

from tests.docs.tables import codes, rows

ROOT = Path(__file__).parents[2]
PROMISES = {codes(row[1])[0]: row[0] for row in rows("../README.md", "Promise")}


def opening(file: Path) -> str:
    """The first paragraph of a module's docstring, as one line, without its last full stop."""
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).removesuffix(".")


def test_every_promise_is_held_by_a_test_that_says_the_same():
    assert PROMISES
    for place, promise in PROMISES.items():
        assert opening(ROOT / place) == promise, place
