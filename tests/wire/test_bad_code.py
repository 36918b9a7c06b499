"""Graph files that raise, hang or print when they are imported."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.server import free_port, running
from tests.wire.test_cli import threadloom_command

GOOD = """
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    n: int

def node(state):
    print("a word \\ud800 from a node")
    return {"n": 1}

graph = StateGraph(State).add_node(node).add_edge(START, "node").compile()
"""


def an_app(folder: Path, **files: str) -> Path:
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)
    config = {"dependencies": ["."], "graphs": {name: f"./{name}.py:graph" for name in files}}
    (folder / "langgraph.json").write_text(json.dumps(config))
    return folder


def test_whatever_they_raise_all_are_told_at_once(tmp_path):
    folder = an_app(
        tmp_path,
        good=GOOD,
        raises="raise RuntimeError('one')",
        typo="def graph(:",
        leaves="import sys\nsys.exit(7)",
        deep="def f(): return f()\nf()",
        odd="class Odd(BaseException): pass\nraise Odd('two')",
        missing="import a_module_that_nobody_has",
        nothing="",
        number="graph = 5",
        asks="graph = input('What now? ')",
    )
    status, _, err = threadloom_command("dev", "--port", free_port(), cwd=folder)
    assert status == 2
    for name, told in {
        "raises": "RuntimeError: one",
        "typo": "SyntaxError",
        "leaves": "(the code called sys.exit() while it was imported)",
        "deep": "RecursionError",
        "odd": "Odd: two",
        "missing": "No module named 'a_module_that_nobody_has'",
        "nothing": "there is no 'graph' in ./nothing.py",
        "number": "Variable 'graph' in module './number.py' is not a Graph or Graph factory function",
        "asks": "EOFError",
    }.items():
        part = err.partition(f"Failed to load graph '{name}'")[2].partition("Failed to load")[0]
        assert told in part, (name, part)
    assert "Failed to load graph 'good'" not in err
    assert not (folder / ".threadloom").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_they_print_breaks_nothing(tmp_path, encoding):
    noise = """
import sys
print("x" * 100_000)
print("é \\ud800 \\x00 \\x1b[31m")
sys.stderr.write("no newline at the end é")
"""
    folder = an_app(tmp_path, good=GOOD + noise)
    with running(folder, tmp_path / "data", env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}) as server:
        answer = httpx.post(f"{server.url}/runs/wait", json={"assistant_id": "good", "input": {}}, timeout=30)
        assert answer.json() == {"n": 1}
        assert "\\ud800 from a node" in server.log()


def test_one_that_hangs_is_named_with_its_line_and_can_be_stopped(tmp_path):
    folder = an_app(tmp_path, good=GOOD, slow="import time\ntime.sleep(600)  # waits for a model")
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = forkserver.start(
            [sys.executable, "-m", "threadloom", "dev", "--port", str(free_port())],
            cwd=folder,
            output=file.fileno(),
            env={**os.environ, "LOG_JSON": "false"},
        )
    try:
        deadline = time.monotonic() + 40
        while "still importing graph 'slow' from ./slow.py after 5 s" not in log.read_text():
            assert time.monotonic() < deadline and process.poll() is None, log.read_text()
            time.sleep(0.1)
        assert f"it is at {folder / 'slow.py'}:2 time.sleep(600)  # waits for a model" in log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
