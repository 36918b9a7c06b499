"""SQL as named text: every query of a `.sql` file has a name line and a sentence that says what it does.

-- name: get_thread
-- One thread by id, without its values.
SELECT …;
"""

import re
from importlib import resources

from threadloom.storage.rows import LISTS

_LIST = re.compile(r"\{([\w.]+)\}")
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(package: str, file: str) -> dict[str, str]:
    """The queries of a `.sql` file of a package, by name, as text without the comment lines, and with the columns of records
    in their places: `{run}` (see `storage.rows.LISTS`).

    Raises:
        ValueError: two queries have one name.
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
