"""The stock JavaScript clients work unchanged: `@langchain/langgraph-sdk`, and `useStream` of both packages, in Node.

The packages are installed once into a cache folder (`THREADLOOM_TEST_CACHE`, else `~/.cache/threadloom-tests`).
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import running

HERE = Path(__file__).parent
SCRIPTS = HERE / "js"
APP = HERE.parent / "apps" / "protocol"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("protocol_js") / "data") as server:
        yield server.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The scripts beside their packages."""
    lock = SCRIPTS / "package-lock.json"
    cache = Path(os.environ.get("THREADLOOM_TEST_CACHE") or Path.home() / ".cache" / "threadloom-tests")
    packages = cache / f"js-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not packages.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = tmp_path_factory.mktemp("npm")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCRIPTS / name, fresh / name)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=fresh, check=True, timeout=300)
        # Another process may have been quicker; what it installed is the same.
        if not packages.exists():
            shutil.move(fresh, packages)
    folder = tmp_path_factory.mktemp("js")
    for script in SCRIPTS.glob("*.js*"):
        shutil.copy(script, folder / script.name)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    return folder


@pytest.mark.parametrize("script", ["sdk.js", "usestream.js"])
def test_the_stock_clients_work(script, folder, url):
    done = subprocess.run(["node", script, url], cwd=folder, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert [line for line in lines[:-1] if not line.startswith("ok ")] == []
    assert lines[-1] == f"all {len(lines) - 1} ran" and len(lines) > 10
