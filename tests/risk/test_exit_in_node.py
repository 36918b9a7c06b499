"""Whatever a user's code raises ends its run or its request with an error, and neither the thread nor the server with it"""

import http.client as http_client
import json
import time
from pathlib import Path

import httpx
import pytest

from tests.server import Server, running

APP = Path(__file__).parents[1] / "apps" / "exits"

RAISED = {
    "exit": "SystemExit",
    "keyboard": "KeyboardInterrupt",
    "generator": "GeneratorExit",
    "base": "BaseException",
    "group": "BaseExceptionGroup",
    "cancelled": "CancelledError",
    "stop": "StopIteration",
    "unprintable": "Unprintable",
    "unrepresentable": "Unrepresentable",
}

SAID = ("NodeCancelledError", "RuntimeError")
"""What LangGraph makes of a node that raises `CancelledError`, and Python of what no coroutine or generator may raise."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("exits") / "data") as server:
        yield server
        # Nothing that was raised is taken for a signal, and a signal still stops the server.
        assert server.stop() == 0, server.log()[-3000:]


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


def run(http, graph, kind, thread=None):
    """Runs a graph to its end; gives the run's status and its output."""
    thread = thread or http.post("/threads", json={}).json()["thread_id"]
    body = {"assistant_id": graph, "input": {"kind": kind}, "config": {"configurable": {"kind": kind}}}
    made = http.post(f"/threads/{thread}/runs", json=body).json()
    output = http.get(f"/threads/{thread}/runs/{made['run_id']}/join").json()
    return thread, http.get(f"/threads/{thread}/runs/{made['run_id']}").json()["status"], output


@pytest.mark.parametrize(
    "graph",
    [
        "on_the_loop",
        "on_a_thread",
        "in_a_subgraph",
        "in_a_tool",
        "in_parallel",
        "in_an_edge",
        "in_a_factory",
        "in_an_async_factory",
    ],
)
def test_a_run_ends_with_an_error(http, graph):
    for kind, name in RAISED.items():
        thread, status, output = run(http, graph, kind)
        assert status == "error", kind
        fault = output["__error__"]
        assert fault["error"] in (name, *SAID), (kind, fault)
        assert isinstance(fault["message"], str)
        record = http.get(f"/threads/{thread}").json()
        assert record["status"] == "error"
        assert record["error"] == fault
        if "factory" in graph:
            continue
        state = http.get(f"/threads/{thread}/state")
        assert state.status_code == 200, state.text
        _, status, output = run(http, graph, None, thread)
        assert (status, "__error__" in output) == ("success", False), (kind, output)


def test_a_reducer_that_raises(http):
    thread, status, output = run(http, "in_a_reducer", "exit")
    assert (status, output["__error__"]["error"]) == ("error", "SystemExit")
    state = http.get(f"/threads/{thread}/state").json()
    assert (state["values"]["kind"], state["next"]) == ("exit", ["n"])
    assert "SystemExit" in state["tasks"][0]["error"]


def test_what_nobody_waits_for(http):
    for kind in (*RAISED, "stop_loop"):
        _, status, output = run(http, "beside_it", kind)
        assert (status, output["ok"]) == ("success", "True")


def test_streams_tell_the_error_and_end(http):
    for kind in ("exit", "generator", "unprintable"):
        body = {"assistant_id": "on_the_loop", "input": {"kind": kind}, "stream_mode": ["values", "debug", "events"]}
        for more in ({}, {"stream_resumable": True}):
            text = http.post("/runs/stream", json={**body, **more}).text
            assert any(f'"error":"{name}"' in text for name in (RAISED[kind], *SAID)), text
            assert text.splitlines().count("event: error") == 1, text
        thread = http.post("/threads", json={}).json()["thread_id"]
        params = {"assistant_id": "on_the_loop", "input": {"kind": kind}}
        http.post(f"/threads/{thread}/commands", json={"id": 1, "method": "run.start", "params": params})
        deadline = time.monotonic() + 30
        while http.get(f"/threads/{thread}").json()["status"] in ("busy", "idle"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert http.get(f"/threads/{thread}").json()["error"]["error"] in (RAISED[kind], *SAID)


def test_handlers_fail_closed(http):
    for kind in RAISED:
        asked = {
            "authenticate": http.get("/assistants/x", headers={"x-authenticate": kind}),
            "authorize": http.post("/threads", json={"metadata": {"authorize": kind}}),
            "encrypt": http.post("/threads", json={"metadata": {"encrypt": kind}}),
            "priority": http.post(
                "/runs/wait", json={"assistant_id": "on_the_loop", "input": {}, "metadata": {"priority": kind}}
            ),
            "route": http.get("/own", params={"kind": kind}),
            "route on a thread": http.get("/own-thread", params={"kind": kind}),
        }
        if kind in ("exit", "keyboard", "base", "generator", "unprintable"):
            asked["store"] = http.put("/store/items", json={"namespace": ["a"], "key": kind, "value": {}})
        for place, answer in asked.items():
            assert answer.status_code == 500, (place, kind, answer.text)
            assert "detail" in answer.json(), (place, kind, answer.text)
    assert http.post("/threads/search", json={"metadata": {}}).json() is not None


@pytest.mark.parametrize("path", ["/own", "/own-thread"])
def test_a_connection_is_kept_after_it(server, path):
    one = http_client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    one.connect()
    kept = one.sock
    for kind in RAISED:
        one.request("GET", f"{path}?kind={kind}")
        with one.getresponse() as answer:
            assert (answer.status, answer.headers["connection"]) == (500, None), kind
            assert "detail" in json.load(answer)
        time.sleep(0.02)  # long enough for a connection that is closed without a word
        one.request("GET", path)
        with one.getresponse() as answer:
            assert answer.read() == b"fine", kind
        assert one.sock is kept
    one.close()
    assert "ended with an exception" not in server.log()


def test_a_response_that_breaks_in_the_middle_ends_its_connection(server):
    for kind in ("generator", "exit"):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{server.url}/own-stream", params={"kind": kind})


def test_a_cron_goes_on(http):
    body = {"assistant_id": "on_the_loop", "schedule": "* * * * * *", "input": {"kind": "exit"}}
    cron = http.post("/runs/crons", json=body).json()["cron_id"]
    failing = {**body, "metadata": {"priority": "exit"}}
    other = http.post("/runs/crons", json=failing).json()["cron_id"]
    deadline = time.monotonic() + 60
    while True:
        crons = http.post("/runs/crons/search", json={}).json()
        if all(one["last_run_id"] or one["last_error"] for one in crons):
            break
        assert time.monotonic() < deadline, json.dumps(crons)
        time.sleep(0.2)
    for one in (cron, other):
        assert http.delete(f"/runs/crons/{one}").status_code == 204


def test_isolated_loops_go_on_too_until_a_lifespan_raises_at_the_end(tmp_path):
    env = {"BG_JOB_ISOLATED_LOOPS": "true", "LIFESPAN_END": "exit"}
    with running(APP, tmp_path / "data", env=env) as server:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            for kind in ("exit", "keyboard", "generator"):
                assert run(http, "on_the_loop", kind)[1] == "error"
                assert run(http, "beside_it", kind)[2]["ok"] == "True"
            assert run(http, "beside_it", "stop_loop")[2]["ok"] == "True"
        server.stop()
        assert "UserCodeExit" in server.log()


def test_a_lifespan_that_raises_is_told_at_the_start(tmp_path):
    server = Server(APP, tmp_path / "data", env={"LIFESPAN": "exit"})
    server.launch()
    assert server.process is not None
    assert server.process.wait(60) in (1, 2)
    assert "SystemExit" in server.log()


def test_a_run_that_ends_its_process_is_tried_a_few_times_only(tmp_path):
    with running(APP, tmp_path / "data", env={"BG_JOB_MAX_RETRIES": "2"}) as server:
        thread = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
        httpx.post(f"{server.url}/threads/{thread}/runs", json={"assistant_id": "kills", "input": {"kind": "dies"}})
        assert server.process is not None
        assert server.process.wait(60) == 9
        server.launch()
        assert server.process.wait(60) == 9
        server.start()
        deadline = time.monotonic() + 30
        while (record := httpx.get(f"{server.url}/threads/{thread}").json())["status"] != "error":
            assert time.monotonic() < deadline, record
            time.sleep(0.05)
        assert record["error"]["error"] == "RunLostError"
