"""`threadloom build`: builds an image of an app with the installed container engine."""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli.dockerfile import add_image_options, read
from threadloom.cli.options import add_refused, add_verb
from threadloom.errors import StartError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs

ENGINES = ("docker", "podman")
NO_NODE = "it is about JavaScript, and this server runs Python graphs only"


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "build",
        help="build an image of the app of a langgraph.json, with docker or podman",
        example="threadloom build --tag my-app:1 -- --no-cache",
    )
    parser.add_argument("-t", "--tag", required=True, help="the name of the image")
    add_image_options(parser)
    parser.add_argument(
        "--pull",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look for a newer base image first (default); --no-pull takes the one that is there",
    )
    for option in ("--install-command", "--build-command"):
        add_refused(parser, option, NO_NODE)
    parser.add_argument("more", nargs="*", metavar="ARGUMENT", help="after --: further arguments of the engine's build")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Builds the image. Shows the engine's own output.

    Raises:
        ConfigError: the configuration cannot be used, or no image can be built from it.
        StartError: there is no engine, or the build failed.
    """
    from threadloom.cli.image.dockerfile import dockerfile, ignore_file

    settings, layout = read(given)
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        raise StartError(
            "Neither docker nor podman is on the path, and one of them has to build the image. "
            "`threadloom dockerfile PATH` writes what they need, to be built elsewhere."
        )
    with tempfile.TemporaryDirectory(prefix="threadloom-build-") as folder:
        file, ignored = Path(folder) / "Dockerfile", Path(folder) / "Dockerfile.dockerignore"
        file.write_text(dockerfile(settings, layout), "utf-8")
        command = [engine, "build", "--file", str(file), "--tag", given.tag, *(["--pull"] if given.pull else [])]
        if not (layout.context / ".dockerignore").exists():
            ignored.write_text(ignore_file(settings.env_file), "utf-8")  # docker finds it by its name
            command += [f"--ignorefile={ignored}"] if engine == "podman" else []
        # Docker's old builder would ignore the ignore file, and secrets would be in the image.
        env = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = subprocess.run([*command, *given.more, str(layout.context)], env=env, check=False)
    if done.returncode:
        raise StartError(f"{engine} build ended with status {done.returncode}; no image was made.")
    print(f"{given.tag} is built. Start it with:\n\n  {engine} run --rm -p 8000:8000 {given.tag}")
    return 0
