"""Reads the dependencies of an app, and the keys that only matter when an image is built."""

from pathlib import Path

from threadloom.config.sections import Section, kind
from threadloom.config.settings import ImageSettings, UvSource

PACKAGE_TOOLS = ("setuptools", "wheel", "pip")
"""pip is last: after it is removed, it cannot remove the others."""
OLDEST_PYTHON = (3, 11)


def read_dependencies(top: Section, root: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Returns the folders among `dependencies`, and the others as requirements for pip.

    A missing folder is a warning.
    """
    if "dependencies" not in top.value and not top.has("source"):
        top.fault("dependencies", 'is required; ["."] puts the folder of this file on the path')
    folders, packages = [], []
    for name in top.texts("dependencies"):
        folder = (root / name).resolve()
        if folder.is_dir():
            folders.append(folder)
        elif name.startswith((".", "/")) or ("/" in name and "://" not in name):
            top.findings.warn("dependencies", f"there is no folder {name!r} (looked for {folder})")
        else:
            packages.append(name)
    return tuple(folders), tuple(packages)


def read_image(top: Section, packages: tuple[str, ...]) -> ImageSettings:
    """Reads the keys for images. `packages` are the requirements among `dependencies`."""
    version = top.text("python_version")
    if version is not None:
        _check_python(top, version)
    if top.text("node_version") is not None:
        top.findings.warn("node_version", "has no effect: this server runs Python graphs only")
    return ImageSettings(
        python_version=version or ImageSettings().python_version,
        base_image=top.text("base_image"),
        image_distro=top.one_of("image_distro", ("debian", "wolfi", "bookworm"), "debian"),
        api_version=top.text("api_version"),
        node_version=top.text("node_version"),
        dockerfile_lines=top.texts("dockerfile_lines"),
        pip_config_file=top.text("pip_config_file"),
        pip_installer=top.one_of("pip_installer", ("auto", "pip", "uv"), "auto"),
        keep_pkg_tools=_kept_tools(top),
        packages=packages,
        source=_read_source(top),
    )


def _kept_tools(top: Section) -> tuple[str, ...]:
    value = top.raw_flag("keep_pkg_tools")
    if value is None or value is False:
        return ()
    if value is True:
        return PACKAGE_TOOLS
    if not isinstance(value, list):
        top.fault("keep_pkg_tools", f"must be true, false or a list of {', '.join(PACKAGE_TOOLS)}, got {kind(value)}")
        return ()
    for tool in value:
        if tool not in PACKAGE_TOOLS:
            top.fault("keep_pkg_tools", f"may hold {', '.join(PACKAGE_TOOLS)}, not {tool!r}")
    return tuple(tool for tool in PACKAGE_TOOLS if tool in value)


def _read_source(top: Section) -> UvSource | None:
    section = top.section("source")
    if section is None:
        return None
    if not section.has("kind"):
        section.fault("kind", 'is missing; it is "uv"')
    section.one_of("kind", ("uv",), "uv")
    source = UvSource(root=section.text("root") or ".", package=section.text("package"))
    section.done()
    if "dependencies" in top.value:
        top.fault("dependencies", "cannot stand beside source")
    return source


def _check_python(top: Section, version: str) -> None:
    parts = version.split(".")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        top.fault("python_version", f'must be a version with two numbers, as "3.12", got {version!r}')
    elif (int(parts[0]), int(parts[1])) < OLDEST_PYTHON:
        top.fault("python_version", f"must be at least 3.11, got {version}")
