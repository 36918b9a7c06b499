"""`pip install .` gives a command that serves: nothing that it needs is missing from the package."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import httpx
import pytest

from tests.server import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an environment into which the package was installed. What it depends on is seen there, not fetched again."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    (site / "shown.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *wheels], check=True, timeout=120)
    wheel = next(folder.glob("threadloom-*.whl"))
    install = ["--python", str(python), "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run([*pip, *install], check=True, timeout=120, env=clean())
    return python


def clean() -> dict[str, str]:
    """The environment without the working copy."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_installed_command_makes_an_app_and_serves_it(installed, tmp_path):
    command = installed.with_name("threadloom")
    where = "import threadloom; print(threadloom.__file__)"
    found = subprocess.run(
        [installed, "-c", where], capture_output=True, text=True, env=clean(), cwd=tmp_path, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(installed.parents[1])
    subprocess.run([command, "init", "app"], cwd=tmp_path, env=clean(), check=True, timeout=60)
    server = Server(tmp_path / "app", tmp_path / "data", command=(str(command),), env={"PYTHONPATH": ""}).start()
    try:
        body = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "hi"}]}}
        answer = httpx.post(f"{server.url}/runs/wait", json=body, timeout=30).raise_for_status().json()
        assert answer["messages"][-1]["content"] == "You said: hi"
        assert httpx.get(f"{server.url}/docs").status_code == 200
        assert server.stop() == 0
    finally:
        server.kill()
