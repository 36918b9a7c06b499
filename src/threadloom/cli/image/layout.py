"""The layout of an app's folders in its image, and the configuration with its paths rewritten to match."""

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from threadloom.config import Settings
from threadloom.config.load import read_document, report
from threadloom.errors import ConfigError

TOP = "/deps"
"""The folder of the image that contains the whole app."""

SPECS = (
    ("http", "app"),
    ("store", "path"),
    ("store", "index", "embed"),
    ("checkpointer", "path"),
    ("auth", "path"),
    ("encryption", "path"),
    ("priority", "path"),
    ("priority", "path"),
)
"""Keys that hold a spec of code, besides `graphs`."""


class ImageFolder(msgspec.Struct, frozen=True):
    """A folder of the app and its path in the image."""

    folder: Path
    target: str


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The layout of an app in its image.

    Attributes:
        context: the folder that the image is built from; it contains all the app's folders.
        places: the folders that are copied.
        installed: the app's dependencies that are installed, or added to Python's path.
        work: the folder that the server is started in.
        blocks: the blocks of the configuration, with paths in the image.
    """

    context: Path
    places: tuple[ImageFolder, ...]
    installed: tuple[ImageFolder, ...]
    work: str
    blocks: dict[str, Any]

    def source(self, path: Path) -> str:
        """Returns a path of this machine as the Dockerfile names it: relative to the context."""
        return os.path.relpath(path, self.context).replace(os.sep, "/")


def plan(settings: Settings) -> Layout:
    """Plans the layout of an app in its image.

    Raises:
        ConfigError: a file that the configuration names would not be in the image, or the app's folders share only the root of
            the file system.
    """
    assert settings.path is not None
    source = settings.image.source
    folders = [settings.root / source.root] if source else list(settings.dependencies)
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    places: list[ImageFolder] = []
    for folder in folders:
        if not any(folder.is_relative_to(other) for other in folders if other != folder):
            places.append(ImageFolder(folder, _free_target(folder, places)))
    root = settings.root.resolve()
    context = Path(os.path.commonpath([root, *(place.folder for place in places)]))
    faults = []
    if context == Path(context.anchor):
        faults.append(f"dependencies: they have no folder in common with {root} that an image could be built from")
    if settings.image.pip_config_file is not None:
        pip = (root / settings.image.pip_config_file).resolve()
        if not pip.is_relative_to(context):
            faults.append(f"pip_config_file: {pip} is outside {context}, which the image is built from")
        elif re.search(r"[\s,'\"]", str(pip.relative_to(context))):
            faults.append(f"pip_config_file: a Dockerfile cannot mount a path with spaces, commas or quotes: {pip}")
    blocks = read_document(settings.path)
    rewrite = _Rewriting(root, places, faults)
    graphs = blocks.get("graphs", {})
    blocks["graphs"] = {graph_id: rewrite.graph(graph_id, entry) for graph_id, entry in graphs.items()}
    for keys in SPECS:
        rewrite.at(blocks, keys)
    blocks["ui"] = {name: rewrite.file(f"ui.{name}", path) for name, path in (blocks.get("ui") or {}).items()}
    if faults:
        raise ConfigError(report(str(settings.path), faults))
    installed = tuple(ImageFolder(folder, _target(folder, places) or TOP) for folder in folders)
    return Layout(
        context=context,
        places=tuple(places),
        installed=installed,
        work=_target(root, places) or TOP,
        blocks={key: value for key, value in blocks.items() if value},
    )


def _free_target(folder: Path, taken: list[ImageFolder]) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name).strip(".-") or "app"
    targets = {place.target for place in taken}
    numbers = iter(range(2, len(taken) + 3))
    target = f"{TOP}/{name}"
    while target in targets:
        target = f"{TOP}/{name}-{next(numbers)}"
    return target


def _target(path: Path, places: list[ImageFolder]) -> str | None:
    """Returns the path in the image of a path of this machine; None if it is not in the image."""
    for place in places:
        if path.is_relative_to(place.folder):
            inner = path.relative_to(place.folder).as_posix()
            return place.target if inner == "." else f"{place.target}/{inner}"
    return None


class _Rewriting:
    """Replaces paths of this machine by those of the image. Records an error for each path that is not in the image."""

    def __init__(self, root: Path, places: list[ImageFolder], faults: list[str]) -> None:
        self._root = root
        self._places = places
        self._faults = faults

    def graph(self, graph_id: str, entry: Any) -> Any:
        where = f"graphs.{graph_id}"
        if isinstance(entry, dict):
            return {**entry, "path": self.spec(where, entry["path"])}
        return self.spec(where, entry)

    def at(self, blocks: dict[str, Any], keys: tuple[str, ...]) -> None:
        """Rewrites the spec under a dotted key, if there is one."""
        *above, last = keys
        block: Any = blocks
        for key in above:
            block = block.get(key) or {}
        if block.get(last):
            block[last] = self.spec(".".join(keys), block[last])

    def spec(self, where: str, spec: str) -> str:
        place, _, name = spec.rpartition(":")
        if "/" not in place and not place.endswith(".py"):
            return spec  # a module, or `provider:model`
        return f"{self.file(where, place)}:{name}"

    def file(self, where: str, path: str) -> str:
        found = (self._root / path).resolve()
        target = _target(found, self._places)
        if target is None:
            self._faults.append(f"{where}: {path} is in no folder of dependencies, so it would not be in the image")
        elif not found.exists():
            self._faults.append(f"{where}: there is no file {found}")
        return target or path
