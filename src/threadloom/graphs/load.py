"""Imports user code: turns specs such as `./agent.py:graph` and `package.module:graph` into objects.

A file is executed once, whatever number of graphs it holds. This module does not know the purpose of the objects; `registry`
does.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from threadloom.config import Settings
from threadloom.config.settings import is_file
from threadloom.errors import ConfigError
from threadloom.graphs import process
from threadloom.graphs.missing_modules import install_hint

log = logging.getLogger("threadloom.graphs")

SLOW_IMPORT = 5.0
"""Seconds after which a module that is still being imported is named in the log."""


class LoadError(ConfigError):
    """User code cannot be loaded: the file is missing, it raises an error, or it lacks the name."""


def load_object(spec: str, settings: Settings) -> Any:
    """Returns the object that a spec names. Prepares the process first (`prepare`).

    Args:
        spec: `path/to/file.py:name`, relative to the configuration's folder, or `package.module:name`; `name` may contain dots.

    Raises:
        LoadError: it cannot be loaded; the message has the cause, with the stack frames of the user's code.
    """
    process.prepare(settings)
    place, _, name = spec.rpartition(":")
    return attribute(load_module(place, settings.root), name, place)


def load_configured(spec: str, settings: Settings, *, key: str, variable: str) -> Any:
    """Returns the object that a key of the configuration names.

    Args:
        variable: the environment variable that replaces the key where there is no configuration file.

    Raises:
        ConfigError: it cannot be loaded; the message names file, key and cause.
    """
    try:
        return load_object(spec, settings)
    except LoadError as error:
        raise ConfigError(f"{settings.path or variable}: {key}: Failed to load {spec}: {error}") from error


def load_app(settings: Settings) -> Any:
    """Returns the user's Starlette (or FastAPI) application that `http.app` names.

    Raises:
        ConfigError: it cannot be loaded, or is not such an application.
    """
    spec = settings.http.app or ""
    where = f"{settings.path or 'LANGGRAPH_HTTP'}: http.app"
    found = load_configured(spec, settings, key="http.app", variable="LANGGRAPH_HTTP")
    # Identified by name, because this layer does not import Starlette.
    if not any(cls.__name__ == "Starlette" and cls.__module__.startswith("starlette.") for cls in type(found).__mro__):
        raise ConfigError(f"{where}: {spec} must be a Starlette or FastAPI application, got {type(found).__name__}")
    return found


def load_module(place: str, root: Path, what: str = "") -> ModuleType:
    """Returns the module of a spec (its part before the last colon). Executes the module if it was not executed before.

    Args:
        what: the purpose of the module, named in the log when the import is slow.

    Raises:
        LoadError: as `load_object`.
    """
    with _warn_if_slow(f"{what} from {place}" if what else place):
        if is_file(place):
            return _load_file(place, root)
        try:
            return importlib.import_module(place)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise LoadError(explain(error)) from error


def attribute(module: ModuleType, name: str, place: str) -> Any:
    """Returns a variable of a module.

    Raises:
        LoadError: the module has no variable of that name; the message lists similar names.
    """
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            raise LoadError(f"there is no {name!r} in {place}{_candidates(module)}")
        value = getattr(value, part)
    return value


def explain(error: BaseException) -> str:
    """Formats an exception for its author: the stack frames of the user's files, then class and text."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if process.is_users(frame.filename)]
    lines = ["Traceback (most recent call last, your files only):\n", *traceback.format_list(frames)] if frames else []
    lines += traceback.format_exception_only(error)
    if isinstance(error, SystemExit):
        lines.append("(the code called sys.exit() while it was imported)")
    if isinstance(error, ModuleNotFoundError) and error.name:
        lines.append(install_hint(error.name, process.import_folders()))
    return "".join(lines).rstrip()


def _load_file(place: str, root: Path) -> ModuleType:
    file = (root / place).resolve()
    if not file.is_file():
        raise LoadError(f"there is no file {file}")
    known = process.files.get(file)
    if known is not None and sys.modules.get(known.__name__) is known:
        return known
    name = place.removesuffix(".py").replace("/", "__").lstrip(".")
    if name in sys.modules:
        name = f"{name}__{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise LoadError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise LoadError(explain(error)) from error
    process.files[file] = module
    return module


def _candidates(module: ModuleType) -> str:
    def is_likely(name: str, value: object) -> bool:
        if name.startswith("_") or isinstance(value, type | ModuleType):
            return False
        if hasattr(value, "compile") or hasattr(value, "astream"):
            return True
        return callable(value) and getattr(value, "__module__", None) == module.__name__

    found = sorted(name for name, value in vars(module).items() if is_likely(name, value))
    return f"; it has {_listed(found)}" if found else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


@contextlib.contextmanager
def _warn_if_slow(what: str) -> Iterator[None]:
    """Logs where a slow import is, repeatedly, at growing intervals."""
    importing = threading.get_ident()
    done = threading.Event()

    def watch() -> None:
        waited, wait = 0.0, SLOW_IMPORT
        while not done.wait(wait):
            waited += wait
            wait = waited
            log.warning("still importing %s after %g s; it is at %s", what, waited, _location(importing))

    watcher = threading.Thread(target=watch, name="threadloom-slow-import", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()


def _location(thread: int) -> str:
    """Returns the innermost line of user code that a thread is executing."""
    frame = sys._current_frames().get(thread)
    stack = traceback.extract_stack(frame) if frame is not None else []
    return next(
        (f"{f.filename}:{f.lineno} {f.line}" for f in reversed(stack) if process.is_users(f.filename)), "unknown"
    )
