"""The Dockerfile of an app."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from threadloom import __version__
from threadloom.cli.image.layout import TOP, Layout
from threadloom.config import Settings
from threadloom.config.environment import BLOCKS
from threadloom.config.image import PACKAGE_TOOLS
from threadloom.config.load import report
from threadloom.errors import ConfigError

HEADER = "# Written by `threadloom dockerfile`."
EXTRAS = ("encryption", "otel", "postgres", "redis", "semantic")
THREADLOOM = f"threadloom[{','.join(EXTRAS)}]=={__version__}"
"""The requirement with which the image installs Threadloom."""

GET_UV = "pip install --no-cache-dir 'uv>=0.5'"
USER = 1000
COMMAND = ("threadloom", "serve")
DATA = "/data"
PORT = 8000
HEALTH = (
    "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); "
    "c.request('GET', '/ok'); sys.exit(c.getresponse().status != 200)"
)
IGNORED = (
    "**/.git",
    "**/.venv",
    "**/venv",
    "**/node_modules",
    "**/__pycache__",
    "**/*.pyc",
    "**/.env",
    "**/.env.*",
    "**/.threadloom",
    "**/.langgraph_api",
    "**/Dockerfile",
    "**/docker-compose.yml",
)
"""Files that do not belong in an image: history, environments, secrets, data."""


def base_image(settings: Settings) -> str:
    """Returns the base image. A `base_image` with a tag or a digest is used as it is; else its tag names Python and distro."""
    image = settings.image
    distro = "" if image.image_distro == "debian" else f"-{image.image_distro}"
    if image.base_image is None:
        return f"python:{image.python_version}-slim{distro}"
    if "@" in image.base_image or ":" in image.base_image.rpartition("/")[2]:
        return image.base_image
    return f"{image.base_image}:{image.python_version}{distro}"


def check(settings: Settings) -> list[str]:
    """Returns the warnings for an app's image.

    Raises:
        ConfigError: no image can follow the configuration; the message lists the reasons.
    """
    image = settings.image
    faults = []
    if settings.path is None:
        raise ConfigError("An image is made from a langgraph.json; this configuration is in the environment.")
    if image.node_version is not None:
        faults.append("node_version: the image has no Node, for this server runs Python graphs only. Remove the key.")
    if image.image_distro == "wolfi" and image.base_image is None:
        faults.append("image_distro: there is no public wolfi image of each Python; name one of yours in base_image")
    if image.pip_config_file is not None:
        if not (settings.root / image.pip_config_file).is_file():
            faults.append(f"pip_config_file: there is no file {settings.root / image.pip_config_file}")
        if image.pip_installer == "uv" or image.source is not None:
            faults.append('pip_config_file: uv does not read pip\'s configuration. Use pip_installer "pip".')
    if image.source is not None:
        if image.pip_installer == "pip":
            faults.append('pip_installer: a source of kind "uv" is installed by uv')
        for name in ("pyproject.toml", "uv.lock"):
            if not (settings.root / image.source.root / name).is_file():
                faults.append(f"source.root: there is no {name} in {settings.root / image.source.root}")
    for name, text in settings.env.items():
        if "\n" in text and settings.env_file is None:
            faults.append(f"env.{name}: holds a line break, which a Dockerfile cannot; put it into an env file")
    if faults:
        raise ConfigError(report(str(settings.path), faults))
    warnings = []
    if image.api_version is not None:
        warnings.append(f"api_version: names a release of another server; the image has Threadloom {__version__}")
    if settings.disable_persistence:
        warnings.append(f"disable_persistence: has no effect in an image; without DATABASE_URI its data are in {DATA}")
    for name, path in settings.ui.items():
        if (settings.root / path).is_file():
            warnings.append(
                f"ui.{name}: is source code, which an image without Node cannot bundle; see `threadloom ui build`"
            )
    return warnings


def dockerfile(settings: Settings, layout: Layout) -> str:
    """Returns the Dockerfile of an app that `check` accepted."""
    return "\n".join(_lines(settings, layout)) + "\n"


def _lines(settings: Settings, layout: Layout) -> Iterator[str]:
    image, env_file = settings.image, settings.env_file
    context = os.path.relpath(layout.context, settings.root)
    yield f"{HEADER} In the folder of langgraph.json:  docker build -f THIS_FILE -t TAG {context}"
    if env_file:
        yield f"# {env_file} stays out of the image; give it at start:  docker run --env-file {env_file} …"
    yield f"FROM {base_image(settings)}"
    yield "USER 0"
    yield from image.dockerfile_lines
    yield ""
    yield (
        f"RUN mkdir -p {TOP} {DATA} /home/app"
        f" && echo 'app:x:{USER}:{USER}:app:/home/app:/bin/sh' >> /etc/passwd"
        f" && chown {USER}:{USER} {TOP} {DATA} /home/app"
    )
    yield ""
    yield from _source(settings, layout) if image.source else _packages(settings, layout)
    yield ""
    yield f"ENV HOME=/home/app PORT={PORT} LANGGRAPH_SERVER_HOST=0.0.0.0 THREADLOOM_DATA={DATA}"
    blocks = {name: layout.blocks[key] for key, name in BLOCKS.items() if layout.blocks.get(key)}
    for name, block in blocks.items():
        yield f"ENV {name}={quoted(block)}"
    if env_file is None:
        for name, text in settings.env.items():
            yield f"ENV {name}={shlex.quote(text)}"
    yield ""
    if gone := [tool for tool in PACKAGE_TOOLS if tool not in image.keep_pkg_tools]:
        uv = "uv " if image.source is not None or image.pip_installer == "uv" else ""
        yield f"RUN python -m pip uninstall --yes {uv}{' '.join(gone)}"
        yield ""
    yield f"WORKDIR {layout.work}"
    yield f"USER {USER}"
    yield f"VOLUME {DATA}"
    yield f"EXPOSE {PORT}"
    yield f"HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD {json.dumps(['python', '-c', HEALTH])}"
    yield f"CMD {json.dumps(COMMAND)}"


def _packages(settings: Settings, layout: Layout) -> Iterator[str]:
    """Yields the steps that install Threadloom and packages of an index, then the app, which changes more often."""
    image = settings.image
    pip, get_pip = "pip install --no-cache-dir", ""
    if image.pip_installer == "uv":
        pip, get_pip = "uv pip install --system --no-cache --compile-bytecode", f"{GET_UV} && "
    mount = ""
    if image.pip_config_file:
        file = layout.source((settings.root / image.pip_config_file).resolve())
        mount = f"--mount=type=bind,source={file},target=/etc/pip.conf "
    first = f"RUN {mount}{get_pip}"
    if image.packages:
        listed = f"printf '%s\\n' {shlex.join(image.packages)} > {TOP}/requirements.txt && "
        yield f"{first}{listed}{pip} {shlex.quote(THREADLOOM)} -r {TOP}/requirements.txt"
    else:
        yield f"{first}{pip} {shlex.quote(THREADLOOM)}"
    yield ""
    yield from _copies(layout)
    wanted, paths = [], []
    for place in layout.installed:
        if any((place.folder / name).is_file() for name in ("pyproject.toml", "setup.py")):
            wanted.append(f"-e {shlex.quote(place.target)}")
        else:
            paths.append(place.target)
            if (place.folder / "requirements.txt").is_file():
                wanted.append(f"-r {shlex.quote(place.target)}/requirements.txt")
    # Threadloom again, so that pip keeps versions of its dependencies that it works with.
    steps = [f"{pip} {shlex.quote(THREADLOOM)} {' '.join(wanted)}"] if wanted else []
    steps += [_on_path(paths)] if paths else []
    if steps:
        yield f"RUN {mount if wanted else ''}{' && '.join(steps)}"


def _source(settings: Settings, layout: Layout) -> Iterator[str]:
    """Yields the steps for a uv project: its locked packages into the image's Python, then Threadloom."""
    source = settings.image.source
    assert source is not None
    yield from _copies(layout)
    target = layout.places[0].target
    package = f" --package {shlex.quote(source.package)}" if source.package else ""
    yield (
        f"RUN {GET_UV} && UV_PROJECT_ENVIRONMENT=\"$(python -c 'import sys; print(sys.prefix)')\""
        f" uv sync --locked --no-dev --inexact --no-cache --compile-bytecode --project {target}{package}"
        f" && uv pip install --system --no-cache --compile-bytecode {shlex.quote(THREADLOOM)} && {_on_path([target])}"
    )


def _copies(layout: Layout) -> Iterator[str]:
    for place in layout.places:
        copied = json.dumps([layout.source(place.folder), place.target])
        yield f"COPY --chown={USER}:{USER} {copied}"


def _on_path(folders: list[str]) -> str:
    """Adds folders that are not packages to the end of Python's path, as `threadloom dev` does."""
    packages = "$(python -c 'import site; print(site.getsitepackages()[0])')"
    return f"printf '%s\\n' {shlex.join(folders)} > \"{packages}/app.pth\""


def quoted(block: Any) -> str:
    """Returns a block of the configuration as the value of an `ENV` line: JSON in which neither Docker nor the shell expands
    anything.
    """
    return shlex.quote(json.dumps(block, ensure_ascii=False))


def ignore_file(env_file: str | None) -> str:
    """Returns the ignore file of a build."""
    more = (f"**/{Path(env_file).name}",) if env_file else ()
    return "\n".join([*IGNORED, *more]) + "\n"
