"""`threadloom ui`: builds an app's interface bundles ahead of time, so that serving them needs no Node."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli.options import add_config, add_verb

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "ui",
        help="make the bundles of an app's interface components",
        example="threadloom ui build --output dist",
    )
    ways = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    building = add_verb(
        ways,
        "build",
        help="bundle each source of `ui` into a folder, and print the folders",
        example="threadloom ui build --config langgraph.json --output dist",
    )
    add_config(building)
    building.add_argument(
        "--output", type=Path, metavar="DIR", default=Path("dist"), help="where the folders are made (default: dist)"
    )
    building.set_defaults(run=run_build)


def run_build(given: argparse.Namespace) -> int:
    """Builds all bundles, then writes them.

    Raises:
        ConfigError: a source does not exist or has errors.
        StartError: there is no esbuild, or the folder cannot be written.
    """
    from threadloom.config import load
    from threadloom.errors import StartError
    from threadloom.graphs.bundles import load_bundles

    bundles = load_bundles(load(given.config, os.environ))
    for name, bundle in bundles.items():
        if bundle.missing is not None:
            raise StartError(f"ui.{name}: {bundle.missing}")
    for name, bundle in bundles.items():
        folder = given.output / name
        try:
            for file, content in bundle.files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(content)
        except OSError as error:
            raise StartError(f"{folder} cannot be written: {error}") from error
        print(folder)
    return 0
