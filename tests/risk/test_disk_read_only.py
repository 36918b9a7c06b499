"""A disk that may only be read: a clear error, nothing lost, service again when it may be written."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.server import free_port, running

APP = Path(__file__).parents[1] / "apps" / "risk"

DROP = 24
"""PR_CAPBSET_DROP of prctl(2)."""
DAC_OVERRIDE = 1
"""What lets root pass by the permissions of files."""

SWITCH = '''
"""While a file is there, every connection of SQLite may only read: what it does on a disk that has become read-only."""
import os, sqlite3

class Connection(sqlite3.Connection):
    only = False

    def _look(self):
        now = os.path.exists(os.environ["READ_ONLY"])
        if now != self.only and not self.in_transaction:
            self.only = now
            super().execute(f"PRAGMA query_only = {'ON' if now else 'OFF'}")

    def execute(self, *given):
        self._look()
        return super().execute(*given)

    def cursor(self, *given):
        self._look()
        return super().cursor(*given)

connect = sqlite3.connect
sqlite3.connect = lambda *given, **named: connect(*given, **{"factory": Connection, **named})
'''


def obey_permissions() -> None:
    """Makes the process that is started obey them as any user's does."""
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(DROP, DAC_OVERRIDE, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the right to pass by permissions could not be given up")


def test_disk_that_becomes_read_only(tmp_path: Path) -> None:
    (tmp_path / "switch").mkdir()
    (tmp_path / "switch" / "sitecustomize.py").write_text(SWITCH)
    switch = tmp_path / "read-only"
    paths = os.pathsep.join(filter(None, [str(tmp_path / "switch"), os.environ.get("PYTHONPATH")]))
    env = {"PYTHONPATH": paths, "READ_ONLY": str(switch)}
    with (
        running(APP, tmp_path / "data", env=env) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        kept = client.post("/threads", json={"metadata": {"kept": True}}).json()["thread_id"]
        switch.touch()
        for _ in range(3):
            refused = client.post("/threads", json={})
            assert refused.status_code in (503, 507), refused.text
            assert "readonly database" in refused.json()["detail"]
        run = client.post(f"/threads/{kept}/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}})
        assert run.status_code in (503, 507)
        assert client.get(f"/threads/{kept}").json()["metadata"]["kept"] is True
        switch.unlink()
        run = client.post(f"/threads/{kept}/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}})
        assert run.json() == {"n": 2}
        assert client.get(f"/threads/{kept}").json()["status"] == "idle"
        assert client.post("/threads/count", json={}).json() == 1


@pytest.mark.parametrize("served_before", [True, False])
def test_folder_that_may_only_be_read(tmp_path: Path, served_before: bool) -> None:
    data = tmp_path / "data"
    data.mkdir()
    kept = None
    if served_before:
        with running(APP, data) as server:
            kept = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
            assert server.stop() == 0
    before = {file.name: file.read_bytes() for file in data.iterdir()}
    for file in data.iterdir():
        file.chmod(0o444)
    data.chmod(0o555)
    try:
        command = [sys.executable, "-m", "threadloom", "dev", "--config", str(APP / "langgraph.json"), "--no-reload"]
        command += ["--data", str(data), "--port", str(free_port())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=obey_permissions)
    finally:
        data.chmod(0o755)
        for file in data.iterdir():
            file.chmod(0o644)
    assert done.returncode == 1, done.stderr
    assert str(data) in done.stderr
    assert "ermission denied" in done.stderr or "read-only" in done.stderr or "readonly" in done.stderr
    assert "Traceback" not in done.stderr
    assert {file.name: file.read_bytes() for file in data.iterdir()} == before
    with running(APP, data) as server:
        if kept is not None:
            assert httpx.get(f"{server.url}/threads/{kept}").status_code == 200
        assert httpx.post(f"{server.url}/threads", json={}).status_code == 200
