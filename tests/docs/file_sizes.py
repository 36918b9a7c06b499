"""Names the Python files that are longer than a reader should have to bear. Ends with 1 if there is one."""

import sys
from pathlib import Path

LIMIT = 500
"""Lines."""


def too_long(folders: list[str]) -> list[str]:
    """`path: lines` of each file over the limit."""
    files = sorted(
        file for folder in folders for file in Path(folder).rglob("*.py") if "node_modules" not in file.parts
    )
    lengths = [(file, len(file.read_text("utf-8").splitlines())) for file in files]
    return [f"{file}: {length} lines, the limit is {LIMIT}" for file, length in lengths if length > LIMIT]


if __name__ == "__main__":
    found = too_long(sys.argv[1:])
    print("\n".join(found) or "All files are within the limit.")
    sys.exit(bool(found))
