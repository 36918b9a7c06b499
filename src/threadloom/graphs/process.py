"""Changes that user code and its settings make to the process (variables, import path, modules), and how they are undone.

A reload imports user modules again while the old ones are still in use. The interpreter holds one module per name, so the old
ones are removed from `sys.modules`; objects that refer to them keep them alive. When the new ones fail, the old ones are put
back.
"""

import functools
import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType

from threadloom.config import Settings
from threadloom.config.settings import is_file

FOREIGN = tuple(
    os.path.realpath(folder) + os.sep
    for folder in {
        str(Path(__file__).parent.parent),
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
    }
)
"""Folders whose code never belongs to an app."""

LIBRARIES = ("site-packages", "dist-packages")
"""Names of folders that hold installed libraries. Needed where the interpreter does not list them (`pip install --user`)."""

IGNORED = frozenset({"node_modules", "__pycache__", "site-packages"})
"""Names of folders that hold no code of an app. Folders that begin with a dot and virtual environments are ignored too."""

files: dict[Path, ModuleType] = {}
"""Modules that were loaded from files, by file."""

_replaced: dict[str, str | None] = {}
"""The values of variables before the configuration set them; None: they were not set."""

_added: list[str] = []
"""Entries that were added to the import path for the configuration."""

_wanted: list[Path] = []
"""The folders that the configuration adds to the import path. Some may have been there before."""


def prepare(settings: Settings) -> None:
    """Prepares the process for user code: sets the variables of `env`, and adds the folders of `dependencies` to the path.

    May be called again: nothing is added twice, and the changes for earlier settings are undone.
    """
    wanted = dict(settings.env)
    if settings.vars.langgraph_api_url is not None:
        wanted["LANGGRAPH_API_URL"] = settings.vars.langgraph_api_url
    for name in _replaced.keys() - wanted.keys():
        before = _replaced.pop(name)
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
    for name, value in wanted.items():
        _replaced.setdefault(name, os.environ.get(name))
        os.environ[name] = value
    _wanted[:] = dict.fromkeys((settings.root, *settings.dependencies))
    root, *folders = map(str, _wanted)
    for entry in [entry for entry in _added if entry not in (root, *folders)]:
        _added.remove(entry)
        if entry in sys.path:
            sys.path.remove(entry)
    if root not in sys.path:
        sys.path.insert(0, root)
        _added.append(root)
    for folder in folders:
        if folder not in sys.path:
            sys.path.append(folder)
            _added.append(folder)
    importlib.invalidate_caches()


def import_folders() -> tuple[Path, ...]:
    """Returns the folders that the configuration adds to the import path, its own folder first."""
    return tuple(_wanted)


def app_folders(settings: Settings) -> tuple[Path, ...]:
    """Returns the folders that hold the app's code: of the configuration, of `dependencies`, of each file that it names."""
    places = [spec.rpartition(":")[0] for spec in settings.code.values()]
    named = [(settings.root / place).resolve().parent for place in places if is_file(place)]
    return tuple(dict.fromkeys([settings.root.resolve(), *settings.dependencies, *named]))


def own_modules(folders: Iterable[Path]) -> dict[str, ModuleType]:
    """Returns the imported modules whose files are in an app's folders."""
    roots = tuple(str(folder) + os.sep for folder in folders)
    real = functools.cache(os.path.realpath)  # a process has thousands of modules, but in only some hundred folders
    return {name: module for name, module in list(sys.modules.items()) if _is_own(module, roots, real)}


def files_of(modules: Mapping[str, ModuleType]) -> set[Path]:
    """Returns the files that modules were read from."""
    found = (getattr(module, "__file__", None) for module in modules.values())
    return {Path(os.path.realpath(file)) for file in found if file}


def _is_own(module: object, roots: tuple[str, ...], real: Callable[[str], str]) -> bool:
    if not isinstance(module, ModuleType):  # None stands for a module that must not be imported
        return False
    if module.__dict__.get("__name__") == "__main__":
        return False
    places = [module.__dict__.get("__file__")]
    if places == [None]:
        # A folder without `__init__.py` (a namespace package); it may consist of several folders.
        places = list(module.__dict__.get("__path__") or ())
    return bool(places) and all(isinstance(place, str) and _is_in(_real_path(place, real), roots) for place in places)


def _real_path(place: str, real: Callable[[str], str]) -> str:
    """Returns `os.path.realpath` of a file, using a cached one for its folder."""
    folder, name = os.path.split(place.rstrip(os.sep))
    path = os.path.join(real(folder), name)  # noqa: PTH118
    return os.path.realpath(path) if os.path.islink(path) else path  # noqa: PTH114


def _is_in(place: str, roots: tuple[str, ...]) -> bool:
    if place.startswith(FOREIGN):
        return False
    for root in roots:
        if place.startswith(root):
            below = Path(place[len(root) :]).parts
            return not any(is_ignored(name) for name in below[:-1])
    return False


def is_users(file: str) -> bool:
    """Returns whether a code file belongs to the app, not to Python, a library or Threadloom."""
    if file.startswith("<"):
        return False
    real = os.path.realpath(file)
    return not real.startswith(FOREIGN) and not any(f"{os.sep}{name}{os.sep}" in real for name in LIBRARIES)


def is_ignored(name: str) -> bool:
    """Returns whether a folder with that name holds no code of an app."""
    return name in IGNORED or name.startswith(".")


class ModuleReload:
    """Removes user modules from `sys.modules`, so that they are imported again.

    Args:
        settings: the settings before the reload.
        folders: the app's folders.
        changed: files that are known to have changed.
    """

    def __init__(self, settings: Settings, folders: Iterable[Path], changed: Iterable[Path] = ()) -> None:
        self._settings = settings
        self._folders = tuple(folders)
        self._files = dict(files)
        self._modules = own_modules(self._folders)
        for name in self._modules:
            del sys.modules[name]
        files.clear()
        for file in changed:
            # Python compares compiled code by the second of its source's change, so it misses a second change within that second.
            if file.suffix == ".py":
                Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)

    def put_back(self) -> None:
        """Restores the previous modules and settings, and removes modules that were imported since."""
        for name in own_modules(self._folders):
            del sys.modules[name]
        sys.modules.update(self._modules)
        files.clear()
        files.update(self._files)
        prepare(self._settings)
