"""What the log tells of requests and runs, read from the output of a real server."""

import json
from pathlib import Path

import httpx
import pytest

from tests.server import running

CODE = """
import logging
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    fail: bool

def node(state):
    logging.getLogger("mine").warning("a word of the app's own")
    if state.get("fail"):
        raise ValueError("secret text")

graph = StateGraph(State).add_node(node).add_edge(START, "node").compile()
"""


def an_app(folder: Path) -> Path:
    (folder / "agent.py").write_text(CODE)
    config = {
        "dependencies": ["."],
        "graphs": {"agent": "./agent.py:graph"},
        "http": {"logging_headers": {"includes": ["x-tenant", "authorization", "x-note-*"], "excludes": ["x-note-b"]}},
    }
    (folder / "langgraph.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = an_app(tmp_path_factory.mktemp("logs"))
    with running(folder, folder / "data") as server:
        yield server


@pytest.fixture
def lines(server):
    """What is logged as JSON while a test runs: `lines(request_id="…")` gives the lines that have these."""
    seen = len(server.log())

    def found(**wanted):
        read = [json.loads(line) for line in server.log()[seen:].splitlines() if line.startswith("{")]
        return [line for line in read if all(line.get(key) == value for key, value in wanted.items())]

    return found


def ask(server, method, path, **more):
    return httpx.request(method, server.url + path, timeout=30, **more)


def test_each_request_has_a_line(server, lines):
    made = ask(server, "POST", "/threads?token=secret", json={}, headers={"x-request-id": "mine-1"}).json()
    (line,) = lines(request_id="mine-1")
    assert line["logger"] == "threadloom.access"
    assert line["event"].startswith("POST /threads 200 in ")
    assert (line["method"], line["path"], line["route"], line["status"]) == ("POST", "/threads", "/threads", 200)
    assert line["client"] == "127.0.0.1"
    assert 0 < line["duration_ms"] < 30_000
    assert "secret" not in str(lines())
    ask(server, "GET", f"/threads/{made['thread_id']}", headers={"x-request-id": "mine-2"})
    (line,) = lines(request_id="mine-2")
    assert (line["route"], line["thread_id"]) == ("/threads/{thread_id}", made["thread_id"])


def test_a_request_without_an_id_gets_one_that_is_answered_and_logged(server, lines):
    answer = ask(server, "GET", "/nothing%0Ahere%1b[31m")
    (line,) = lines(request_id=answer.headers["x-request-id"])
    assert (line["path"], line["route"], line["status"]) == ("/nothing%0Ahere%1B%5B31m", None, 404)


def test_probes_are_not_told(server, lines):
    ask(server, "GET", "/ok")
    ask(server, "GET", "/metrics")
    assert lines(logger="threadloom.access") == []


def test_chosen_headers_are_told_and_credentials_never(server, lines):
    headers = {"x-tenant": "acme", "authorization": "Bearer abc", "x-note-a": "1", "x-note-b": "2", "x-other": "3"}
    ask(server, "GET", "/info", headers=headers)
    (line,) = lines(path="/info")
    assert line["headers"] == {"x-tenant": "acme", "authorization": "[hidden]", "x-note-a": "1"}
    assert "abc" not in str(lines())


def test_a_runs_lines_carry_its_ids_and_its_requests(server, lines):
    body = {"assistant_id": "agent", "input": {}}
    run_id = ask(server, "POST", "/runs/wait", json=body, headers={"x-request-id": "mine-3"}).headers[
        "content-location"
    ]
    own, ended, access = lines(request_id="mine-3")
    assert (own["logger"], own["event"]) == ("mine", "a word of the app's own")
    assert own["run_id"] == ended["run_id"] and own["run_id"] in run_id
    assert own["thread_id"] == ended["thread_id"] and own["thread_id"] in run_id
    assert ended["event"].startswith("run of agent: success in ")
    assert (ended["graph_id"], ended["status"], ended["attempt"], ended["error"]) == ("agent", "success", 1, None)
    assert access["path"] == "/runs/wait"


def test_a_failed_run_is_told_with_its_cause(server, lines):
    ask(server, "POST", "/runs/wait", json={"assistant_id": "agent", "input": {"fail": True}})
    (ended,) = lines(status="error")
    assert ended["event"].startswith("run of agent: error (ValueError) in ")
    assert ended["error"] == "ValueError"


def test_people_read_plain_lines(tmp_path):
    folder = an_app(tmp_path)
    with running(folder, tmp_path / "data", env={"LOG_JSON": "false", "LOG_LEVEL": "debug"}) as server:
        ask(server, "GET", "/info", headers={"x-tenant": "acme", "x-request-id": "mine-4"})
        ask(server, "GET", "/ok")
        log = server.log()
    (line,) = (line for line in log.splitlines() if "GET /info" in line)
    assert "INFO     GET /info 200 in " in line
    assert " ms x-tenant='acme'  [threadloom.access request_id=mine-4]" in line
    assert "\033[" not in log, "no colours where there is no terminal"
    assert "DEBUG    GET /ok 200 in " in log, "probes are told at level DEBUG"


def test_the_least_level_counts(tmp_path):
    folder = an_app(tmp_path)
    with running(folder, tmp_path / "data", env={"LOG_LEVEL": "WARNING"}) as server:
        ask(server, "GET", "/info")
        log = server.log()
    assert "threadloom.access" not in log
