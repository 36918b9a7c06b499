"""Carries out a Dockerfile without a container engine: its steps in a folder and a virtual environment of their own.

What it needs of Docker's language is what `threadloom dockerfile` writes: FROM, USER, ENV, RUN, COPY (of folders) and WORKDIR;
the rest is kept to be looked at. Paths of the image lie under `root`.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from fnmatch import fnmatch
from pathlib import Path

from threadloom import __version__

TOPS = ("/deps", "/data", "/home/app", "/etc")


class Image:
    """An image that is being made.

    Args:
        text: the Dockerfile.
        context: the folder that it is built from.
        root: an empty folder, the image's own.
        ignored: patterns of what is not copied, as a .dockerignore has them.
    """

    def __init__(self, text: str, context: Path, root: Path, ignored: str = "") -> None:
        self.context = context
        self.root = root
        self.env: dict[str, str] = {}
        self.work = root
        self.kept: dict[str, str] = {}
        self._ignored = [line.removeprefix("**/") for line in ignored.splitlines() if line]
        (root / "etc").mkdir(parents=True)
        self.python = self._environment()
        for word, rest in instructions(text):
            step = getattr(self, f"_{word.lower()}", None)
            if step is not None:
                step(rest)
            else:
                self.kept[word] = rest

    @property
    def command(self) -> list[str]:
        """What the image starts."""
        words: list[str] = json.loads(self.kept["CMD"])
        return words

    @property
    def health(self) -> list[str]:
        """What asks the server whether it is well."""
        words: list[str] = json.loads(self.kept["HEALTHCHECK"].partition("CMD ")[2])
        return words

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a process in the image, and of nothing else."""
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, **{name: self.inside(text) for name, text in self.env.items()}, **more}

    def inside(self, text: str) -> str:
        """A text with the image's paths turned into those of this machine."""
        return re.sub(rf"(?<![\w/.])({'|'.join(TOPS)})(?=[/\s\"']|$)", lambda top: f"{self.root}{top[0]}", text)

    def _environment(self) -> Path:
        """A virtual environment that sees the packages of this one; what is installed goes into it alone."""
        folder = self.root / "venv"
        venv.create(folder, symlinks=True)
        python = folder / "bin" / "python"
        shown = [path for path in sys.path if path.endswith("-packages")]
        shown.append(str(Path(__file__).parents[1] / "src"))
        site = next((folder / "lib").glob("python*")) / "site-packages"
        (site / "shown.pth").write_text("\n".join(shown))
        # Stands for the release that the image would fetch: what is run is this working copy.
        told = site / f"threadloom-{__version__}.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: threadloom\nVersion: {__version__}\n")
        for name, module in (("pip", "pip"), ("threadloom", "threadloom")):
            script = python.with_name(name)
            script.write_text(f'#!/bin/sh\nexec "{python}" -m {module} "$@"\n')
            script.chmod(0o755)
        return python

    def _from(self, rest: str) -> None:
        self.kept["FROM"] = rest

    def _env(self, rest: str) -> None:
        self.env |= dict(word.split("=", 1) for word in shlex.split(rest))

    def _workdir(self, rest: str) -> None:
        self.work = Path(self.inside(rest))
        self.work.mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        source, target = json.loads(re.sub(r"^--chown=\d+:\d+ ", "", rest))
        shutil.copytree(self.context / source, self.inside(target), ignore=self._left_out, dirs_exist_ok=True)

    def _left_out(self, folder: str, names: list[str]) -> list[str]:
        return [name for name in names if any(fnmatch(name, pattern) for pattern in self._ignored)]

    def _run(self, rest: str) -> None:
        if "pip uninstall" in rest:
            self.kept["UNINSTALLED"] = rest
            return
        mount = re.match(r"--mount=type=bind,source=(\S+),target=(\S+) ", rest)
        if mount:
            target = Path(self.inside(mount[2]))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.context / mount[1], target)
            rest = rest[mount.end() :]
        # Nothing is fetched: what is needed is there, or the step fails.
        offline = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        own = self.inside(rest.replace("chown ", ": "))
        done = subprocess.run(
            ["sh", "-ec", own], cwd=self.work, env=self.environment(**offline), capture_output=True, text=True
        )
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}\n{done.stderr}"


def instructions(text: str) -> list[tuple[str, str]]:
    """Word and rest of each instruction; one stands on each line."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.partition(" ")[2]) for line in lines]
