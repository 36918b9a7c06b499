"""`threadloom dockerfile`: writes the Dockerfile of an app."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli.options import add_config, add_refused, add_verb
from threadloom.errors import StartError

if TYPE_CHECKING:
    from threadloom.cli.image.layout import Layout
    from threadloom.cli.options import Verbs
    from threadloom.config import Settings


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "dockerfile",
        help="write a Dockerfile for the app of a langgraph.json",
        example="threadloom dockerfile Dockerfile --add-docker-compose",
    )
    parser.add_argument("file", type=Path, metavar="PATH", help="the file to write")
    add_image_options(parser)
    parser.add_argument(
        "--add-docker-compose",
        action="store_true",
        help="also write docker-compose.yml (PostgreSQL, one process that serves, one that executes runs), .env and "
        ".dockerignore beside it; a .env or .dockerignore that is there stays",
    )
    parser.add_argument("--force", action="store_true", help="replace files that were not written by this command")
    parser.set_defaults(run=run)


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `build` has too."""
    add_config(parser)
    parser.add_argument(
        "--base-image", metavar="IMAGE", help="the image to begin from, wins over base_image of the configuration"
    )
    add_refused(parser, "--api-version", "the image has this release of Threadloom; install another to get another")


def run(given: argparse.Namespace) -> int:
    """Writes the files.

    Raises:
        ConfigError: the configuration cannot be used, or no image can be built from it.
        StartError: a file exists that this command did not write, or it cannot be written.
    """
    from threadloom.cli.image.compose import compose, env_text
    from threadloom.cli.image.dockerfile import dockerfile, ignore_file

    settings, layout = read(given)
    file: Path = given.file
    files = {file: dockerfile(settings, layout)}
    kept: dict[Path, str] = {}
    if given.add_docker_compose:
        here = file.absolute().parent
        own = settings.env_file
        files[file.parent / "docker-compose.yml"] = compose(
            context=os.path.relpath(layout.context, here),
            dockerfile=os.path.relpath(file.absolute(), layout.context),
            env_file=os.path.relpath(settings.root / own, here) if own else None,
        )
        kept = {file.parent / ".env": env_text(), layout.context / ".dockerignore": ignore_file(settings.env_file)}
    write(files, kept, force=given.force)
    for path in (*files, *kept):
        print(path)
    return 0


def read(given: argparse.Namespace) -> tuple["Settings", "Layout"]:
    """Returns the configuration and the app's layout in an image. Prints warnings.

    Raises:
        ConfigError: it cannot be used, or no image can be built from it.
    """
    import msgspec

    from threadloom.cli.image.dockerfile import check
    from threadloom.cli.image.layout import plan
    from threadloom.config import load

    settings = load(given.config, os.environ)
    if given.base_image is not None:
        image = msgspec.structs.replace(settings.image, base_image=given.base_image)
        settings = msgspec.structs.replace(settings, image=image)
    for warning in (*settings.warnings, *check(settings)):
        print(f"Warning: {warning}", file=sys.stderr)
    return settings, plan(settings)


def write(files: dict[Path, str], kept: dict[Path, str], *, force: bool) -> None:
    """Writes files; those of `kept` only where they do not exist.

    Raises:
        StartError: a file exists that this command did not write (unless `force`), or it cannot be written.
    """
    from threadloom.cli.image.dockerfile import HEADER

    try:
        for path in files:
            if not force and path.exists() and HEADER not in path.read_text("utf-8", errors="replace"):
                raise StartError(f"{path} is there and was not written by this command. Choose another, or --force.")
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        for path, text in kept.items():
            if not path.exists():
                path.touch(0o600 if path.name == ".env" else 0o644)
                path.write_text(text, "utf-8")
    except OSError as error:
        raise StartError(f"{error.filename} cannot be written: {error.strerror}") from error
