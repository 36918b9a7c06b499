"""Bundles of users' interface components (`ui` in `langgraph.json`): read from a folder, or built from source by esbuild.

A bundle is a script that a client's page loads (`LoadExternalComponent` of `@langchain/langgraph-sdk/react-ui`). It does not
contain the modules that it shares with the page (React above all): the page provides them under `Symbol.for("LGUI_REQUIRE")`, and
reads the component to show from `Symbol.for("LGUI_EXT_STORE")`.

esbuild is the app's own, from its `node_modules`, or one on the path. It is never downloaded: without it the bundle is not built,
and requests for the bundle get an error that says so.
"""

import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from threadloom.config.settings import Settings
from threadloom.errors import ConfigError

log = logging.getLogger("threadloom.ui")

ENTRY = "entrypoint"
BUILD_SECONDS = 120

PAGES = (
    "react",
    "react-dom",
    "react/jsx-runtime",
    "@langchain/langgraph-sdk",
    "@langchain/langgraph-sdk/react",
    "@langchain/langgraph-sdk/react-ui",
)
"""Modules that the page provides; `ui_config.shared` adds more."""

SOURCE = """
import components from %s;

export function render(name, shadowRootId) {
  const place = document.createElement("div");
  document.getElementById(shadowRootId).shadowRoot.appendChild(place);
  window[Symbol.for("LGUI_EXT_STORE")].respond(shadowRootId, components[name], place);
}
"""

INSTALL = (
    "install esbuild beside the app (npm install --save-dev esbuild), or name a folder with a ready bundle (docs/ui.md)"
)


class Bundle(msgspec.Struct, frozen=True):
    """The files of one bundle by their names. `inputs` are the app's files that it was built from. If there are no files,
    `missing` is the reason.
    """

    files: Mapping[str, bytes]
    inputs: tuple[Path, ...] = ()
    missing: str | None = None


def variable(name: str) -> str:
    """Returns the name of the global variable that the script of a bundle sets."""
    return "__LGUI_" + re.sub(r"[^a-zA-Z0-9]", "_", name)


def load_bundles(settings: Settings) -> dict[str, Bundle]:
    """Returns all bundles that the configuration names. Builds those that are given as source.

    Raises:
        ConfigError: a folder or source file does not exist, or the source has errors.
    """
    if settings.http.disable_ui:
        return {}
    return {name: _load(name, settings.root / path, settings) for name, path in settings.ui.items()}


def _load(name: str, path: Path, settings: Settings) -> Bundle:
    if path.is_dir():
        return _ready(name, path)
    if not path.is_file():
        raise ConfigError(f"ui.{name}: there is no file or folder {path}")
    esbuild = find_esbuild(path.parent)
    if esbuild is None:
        missing = f"The bundle is not built: there is no esbuild. To have it, {INSTALL}."
        log.warning("ui.%s: %s", name, missing)
        return Bundle({}, (path,), missing)
    return build(name, path, esbuild=esbuild, root=settings.root, shared=settings.ui_config.shared)


def _ready(name: str, folder: Path) -> Bundle:
    """Returns the files of a folder, by their paths within it."""
    whole = folder.resolve()
    found = (file.resolve() for file in sorted(folder.rglob("*")))
    inputs = tuple(file for file in found if file.is_file() and file.is_relative_to(whole))
    files = {file.relative_to(whole).as_posix(): file.read_bytes() for file in inputs}
    if f"{ENTRY}.js" not in files:
        raise ConfigError(f"ui.{name}: the folder {folder} has no {ENTRY}.js; `threadloom ui build` makes one")
    return Bundle(files, inputs)


def find_esbuild(folder: Path) -> Path | None:
    """Returns the esbuild of the nearest `node_modules`, from a folder upwards, or the one on the path."""
    for place in (folder, *folder.parents):
        if found := shutil.which("esbuild", path=str(place / "node_modules" / ".bin")):
            return Path(found)
    found = shutil.which("esbuild")
    return Path(found) if found else None


def build(name: str, source: Path, *, esbuild: Path, root: Path, shared: Sequence[str]) -> Bundle:
    """Builds a bundle: `entrypoint.js`, and `entrypoint.css` if the source has styles.

    Args:
        root: where module names are resolved from.
        shared: modules that the page provides, in addition to `PAGES`.

    Raises:
        ConfigError: esbuild reported errors, or cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="threadloom-ui-") as folder:
        out = Path(folder) / "out"
        script, meta = out / f"{ENTRY}.js", Path(folder) / "meta.json"
        command = [
            str(esbuild),
            "--bundle",
            "--format=cjs",
            "--platform=browser",
            "--target=es2020",
            "--jsx=automatic",
            "--loader=tsx",
            "--charset=utf8",
            "--log-level=warning",
            "--color=false",
            f"--sourcefile={ENTRY}.tsx",
            f"--outfile={script}",
            f"--metafile={meta}",
            *(f"--external:{module}" for module in (*PAGES, *shared)),
        ]
        entry = SOURCE % msgspec.json.encode(str(source.resolve())).decode()
        try:
            done = subprocess.run(
                command, input=entry, cwd=root, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"ui.{name}: {esbuild} cannot be run: {error}") from error
        told = done.stderr.strip()
        if done.returncode:
            raise ConfigError(f"ui.{name}: {source} cannot be bundled:\n{told}")
        if told:
            log.warning("ui.%s: %s", name, told)
        script.write_bytes(_for_pages(name, script.read_bytes()))
        files = {file.name: file.read_bytes() for file in sorted(out.iterdir())}
        inputs = [(root / name).resolve() for name in msgspec.json.decode(meta.read_bytes())["inputs"]]
    if any(rule in files.get(f"{ENTRY}.css", b"") for rule in (b"@tailwind", b"@theme", b"@apply")):
        log.warning("ui.%s: its styles need Tailwind, which esbuild alone does not know (docs/ui.md)", name)
    own = (file for file in inputs if file.is_file() and "node_modules" not in file.parts)
    return Bundle(files, tuple(own))


def _for_pages(name: str, module: bytes) -> bytes:
    """Wraps a module as a script: it requires modules from the page and exports to a global variable."""
    opening = f"var {variable(name)} = (function (require, module) {{\nvar exports = module.exports;\n"
    closing = '\nreturn module.exports;\n})(globalThis[Symbol.for("LGUI_REQUIRE")], { exports: {} });\n'
    return opening.encode() + module + closing.encode()
