"""Tests that are cut off leave no process behind: no server, PostgreSQL, Redis, cluster, browser."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import forkserver

SECONDS = 120
HOLDS = Path(__file__).with_name("holds.py")


def born(pid: int) -> tuple[int, str] | None:
    """A process's parent, and when it was started, which tells it from others that had its id. None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), fields[19])


def descendants(pid: int) -> dict[int, str]:
    """All processes below one: what they are by their id."""
    parents = {int(one.name): born(int(one.name)) for one in Path("/proc").iterdir() if one.name.isdigit()}
    found, below = {}, {pid}
    while below:
        below = {child for child, known in parents.items() if known and known[0] in below}
        found |= {child: parents[child][1] for child in below}
    return found


def words(pid: int) -> list[str]:
    """A process's command."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def programs(pids) -> set[str]:
    return {Path(f"/proc/{pid}/exe").readlink().name for pid in pids}


@pytest.mark.parametrize("who", ["all", "a worker", "Ctrl-C"])
def test_nothing_is_left(who, tmp_path):
    held = tmp_path / "held"
    with (tmp_path / "log").open("wb") as log:
        tests = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-n", "1", "--basetemp", tmp_path / "base", str(HOLDS)],
            cwd=forkserver.ROOT,
            env={**os.environ, "THREADLOOM_HOLDS": str(held)},
            stdout=log,
            stderr=log,
            preexec_fn=forkserver.die_with_parent,
        )
    deadline = time.monotonic() + SECONDS
    while not held.exists():
        assert tests.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)
    left = descendants(tests.pid)
    assert programs(left) >= {Path(sys.executable).resolve().name, "postgres", "valkey-server", "chromium"}
    [database] = {Path(words(pid)[2]).parent for pid in left if words(pid)[1:2] == ["-D"]}
    assert database.exists()
    worker = int(held.read_text())
    if who == "Ctrl-C":
        tests.send_signal(signal.SIGINT)
        os.kill(worker, signal.SIGINT)  # a terminal tells both
    else:
        os.kill(worker if who == "a worker" else tests.pid, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while left := {pid: start for pid, start in left.items() if (born(pid) or ("", ""))[1] == start}:
        assert time.monotonic() < deadline, f"left: {left}"
        time.sleep(0.05)
    tests.wait()
    assert not database.exists()
