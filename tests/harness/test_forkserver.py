"""Servers are forked where that makes no difference, and started anew where it could."""

import os
import signal
import subprocess
import sys

import pytest

from tests import forkserver

THREADLOOM = (sys.executable, "-m", "threadloom")
BAD = (*THREADLOOM, "validate")


def started(folder, command=BAD, **env):
    with (folder / "log").open("wb") as log:
        process = forkserver.start(command, output=log.fileno(), cwd=folder, env={**os.environ, **env})
    assert process.wait(60) == 2
    return process, (folder / "log").read_text()


def test_a_command_is_forked_and_runs_in_its_folder(tmp_path):
    process, said = started(tmp_path)
    assert process.forked
    assert f"{tmp_path}/langgraph.json: no such file" in said


@pytest.mark.parametrize(
    "env",
    [{"PYTHONUTF8": "1"}, {"LC_ALL": "C"}, {"LANGGRAPH_DEFAULT_RECURSION_LIMIT": "7"}, {"PATH": "/usr/bin"}],
    ids=str,
)
def test_variables_that_imports_or_the_interpreter_read_start_it_anew(tmp_path, env):
    process, said = started(tmp_path, **env)
    assert not process.forked
    assert "no such file" in said


@pytest.mark.parametrize("name", ["httpx.py", "langgraph/__init__.py"])
def test_a_folder_that_hides_what_is_imported_starts_it_anew(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert not started(tmp_path)[0].forked


def test_output_and_errors_are_apart_and_the_status_is_its_own():
    done = forkserver.run((*THREADLOOM, "--version"), timeout=60)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "threadloom", "")
    done = forkserver.run((*THREADLOOM, "devv"), timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "devv" in done.stderr


def test_what_runs_too_long_is_killed():
    with pytest.raises(subprocess.TimeoutExpired):
        forkserver.run(("sleep", "600"), timeout=0.1)


def test_a_signal_is_a_negative_status(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        process = forkserver.start(("sleep", "600"), output=log.fileno())
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == process.poll() == -signal.SIGTERM


def test_a_program_that_is_not_there_is_said(tmp_path):
    assert forkserver.run(("no-such-program",), timeout=60).stderr.startswith("no-such-program: ")
