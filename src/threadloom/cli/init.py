"""`threadloom init`: writes a small app to start with."""

import argparse
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli.options import add_verb
from threadloom.errors import StartError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs

FILES = {
    "langgraph.json": "langgraph.json",
    "agent.py": "agent.py",
    "README.md": "README.md",
    "gitignore": ".gitignore",
}
"""Files of the template and their names in the app."""


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "init",
        help="make a small app that runs without any key",
        example="threadloom init my-app && cd my-app && threadloom dev",
    )
    parser.add_argument("path", nargs="?", type=Path, default=Path(), help="the folder (default: this one)")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Writes the app.

    Raises:
        StartError: one of its files exists, or the folder cannot be written. Nothing is overwritten.
    """
    folder: Path = given.path
    template = files("threadloom.cli") / "template"
    taken = [name for name in FILES.values() if (folder / name).exists()]
    if taken:
        raise StartError(f"{folder.absolute()} already has {', '.join(taken)}; nothing was written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source, name in FILES.items():
            (folder / name).write_text((template / source).read_text("utf-8"), "utf-8")
    except OSError as error:
        raise StartError(f"the app cannot be written to {folder.absolute()}: {error}") from error
    print(f"An app is in {folder.absolute()}: {', '.join(FILES.values())}")
    print("Start it with:\n")
    print(f"  {'' if folder == Path() else f'cd {folder} && '}threadloom dev")
    return 0
