"""The stock JavaScript packages, installed once into a cache folder: THREADLOOM_TEST_CACHE, or else in the home folder."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parent / "js"

SECONDS = 900
"""What a script may take: far more than it needs, since it is not speed that is tested and the machine may have much to do."""


def packages(scratch: Path) -> Path:
    """The folder with `node_modules`, as `js/package-lock.json` has them.

    Args:
        scratch: an empty folder to install in.
    """
    if os.environ.get("THREADLOOM_NEWEST"):
        return _newest(scratch)
    lock = SCRIPTS / "package-lock.json"
    cache = Path(os.environ.get("THREADLOOM_TEST_CACHE") or Path.home() / ".cache" / "threadloom-tests")
    folder = cache / f"js-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCRIPTS / name, scratch / name)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=scratch, check=True, timeout=SECONDS)
        # Another process may have been quicker; what it installed is the same.
        if not folder.exists():
            shutil.move(scratch, folder)
    return folder


def _newest(folder: Path) -> Path:
    """Installs the newest clients, whatever the lock file says."""
    wanted = json.loads((SCRIPTS / "package.json").read_text())
    for name in wanted["dependencies"]:
        if name.startswith("@langchain/"):
            wanted["dependencies"][name] = "latest"
    (folder / "package.json").write_text(json.dumps(wanted))
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, timeout=SECONDS)
    return folder


def run_script(script: str, folder: Path, url: str) -> list[str]:
    """Runs a script against a server. Gives the lines of its tests that did not pass."""
    done = subprocess.run(["node", script, url], cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines and lines[-1] == f"all {len(lines) - 1} ran", done.stdout + done.stderr
    return [line for line in lines[:-1] if not line.startswith("ok ")]
