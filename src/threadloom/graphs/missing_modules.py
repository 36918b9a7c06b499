"""Suggests the command that installs a missing module, from the files in the app's folders."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
"""A folder with one of these files can be installed."""

REQUIREMENTS = "requirements.txt"


def install_hint(module: str, folders: Sequence[Path]) -> str:
    """Returns a one-line hint on how to install a module.

    Args:
        module: the name in the failed import, dotted or not.
        folders: the folders of the app that are on the import path.
    """
    package = module.partition(".")[0]
    projects = [folder for folder in folders if any((folder / name).is_file() for name in PROJECT_FILES)]
    for folder in folders:
        if _holds(folder / "src", package):
            if folder in projects:
                return f"It is in {_shown(folder / 'src')}. Install that project: {_editable(folder)}"
            return f'It is in {_shown(folder / "src")}. Add "./src" to `dependencies` in the configuration.'
    for folder in projects:
        if any(_names(folder / name, package) for name in PROJECT_FILES):
            return f"The app's own project asks for it. Install that: {_editable(folder)}"
    for folder in folders:
        if _names(folder / REQUIREMENTS, package):
            return f"The app's requirements ask for it: pip install -r {_shown(folder / REQUIREMENTS)}"
    if module != package and importlib.util.find_spec(package) is not None:
        return f"{package} is installed, but has no such module. Another version may: pip install --upgrade {package}"
    own = f" If it comes with the app: {_editable(projects[0])}" if projects else ""
    return f"Install it into the environment of threadloom: pip install {package.replace('_', '-')}.{own}"


def _holds(folder: Path, package: str) -> bool:
    return (folder / package).is_dir() or (folder / f"{package}.py").is_file()


def _names(file: Path, package: str) -> bool:
    """Returns whether a requirements file names a package. Many distributions are named `python-NAME` or `NAME-sdk`."""
    try:
        text = file.read_text("utf-8", errors="replace")
    except OSError:
        return False
    word = re.escape(package).replace("_", "[-_.]")
    return re.search(rf"(?im)^[^#\n]*?(?<![a-z0-9]){word}(?![a-z0-9])", text) is not None


def _editable(folder: Path) -> str:
    return f"pip install -e {_shown(folder)}"


def _shown(path: Path) -> str:
    """Returns a path in a form that can be typed in the folder where the server was started."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
