"""`/metrics`, as Prometheus and as a program read it, and `/docs`."""

import json
import re
from html.parser import HTMLParser

import httpx
import pytest

from tests.server import running
from tests.wire.test_cli import threadloom_command

CODE = """
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    fail: bool

def node(state):
    if state.get("fail"):
        raise ValueError("no")

graph = StateGraph(State).add_node(node).add_edge(START, "node").compile()
"""

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[0-9.e+]+|NaN)')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "agent.py").write_text(CODE)
    config = {"dependencies": ["."], "graphs": {'the "first"\n': "./agent.py:graph"}}
    (folder / "langgraph.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def http(folder):
    with (
        running(folder, folder / "data", env={"METRIC_PREFIX": "mine_"}) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        thread_id = client.post("/threads", json={}).json()["thread_id"]
        for input_ in ({}, {}, {"fail": True}):
            body = {"assistant_id": 'the "first"\n', "input": input_}
            client.post(f"/threads/{thread_id}/runs/wait", json=body)
        client.get("/nowhere")
        yield client


@pytest.fixture
def figures(http):
    """The figures by name with labels."""
    answer = http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    found, types = {}, {}
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, "each figure is declared once"
            types[name] = kind
        elif not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            assert match[1] + (match[2] or "") not in found, line
            assert any(match[1] in (name, f"{name}_bucket", f"{name}_sum", f"{name}_count") for name in types), line
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_requests_are_counted_by_route(figures):
    wait = 'method="POST",path="/threads/{thread_id}/runs/wait",status="200"'
    assert figures[f"mine_http_requests_total{{{wait}}}"] == 3
    assert figures[f"mine_http_requests_latency_count{{{wait}}}"] == 3
    assert figures[f'mine_http_requests_latency_bucket{{{wait},le="+Inf"}}'] == 3
    assert figures['mine_http_requests_total{method="GET",path="",status="404"}'] == 1


def test_runs_are_counted_by_graph_and_end(figures):
    graph = 'graph="the \\"first\\"\\n"'
    assert figures[f'mine_runs_total{{{graph},status="success"}}'] == 2
    assert figures[f'mine_runs_total{{{graph},status="error"}}'] == 1
    assert figures[f'mine_runs_duration_seconds_count{{{graph},status="success"}}'] == 2


def test_workers_queue_process_and_python_are_told(figures):
    assert (figures["mine_workers_max"], figures["mine_workers_active"], figures["mine_workers_available"]) == (
        100,
        0,
        100,
    )
    for name in ("n_pending", "n_running", "pending_runs_wait_time_max_secs"):
        assert figures[f"mine_queue_{name}"] == 0
    names = {re.split(r"[{_]", name)[0] for name in figures}
    assert {"process", "python", "mine"} == names
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert figures[name] > 0


def test_the_same_as_json(http):
    told = http.get("/metrics?format=json").json()
    assert told["queue"] == {
        "n_pending": 0,
        "n_running": 0,
        "pending_runs_wait_time_max_secs": None,
        "pending_runs_wait_time_med_secs": None,
        "pending_unblocked_runs_wait_time_max_secs": None,
    }
    assert told["workers"] == {"max": 100, "active": 0, "available": 100}
    wait = {"method": "POST", "path": "/threads/{thread_id}/runs/wait", "status": 200, "count": 3}
    assert wait in told["api"]["http_requests_total"]
    assert {"graph": 'the "first"\n', "status": "error", "count": 1} in told["api"]["runs_total"]


def test_an_unknown_format_is_prometheus(http):
    assert http.get("/metrics?format=xml").headers["content-type"].startswith("text/plain")


def test_a_prefix_that_no_figure_can_have_is_refused(folder):
    status, _, err = threadloom_command("dev", "--port", "0", cwd=folder, env={"METRIC_PREFIX": "my-app."})
    assert status == 2
    assert "METRIC_PREFIX: must be letters, digits and underscores, got 'my-app.'" in err


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form")
        self.found += [value for name, value in attrs if name in ("href", "src", "srcset", "action", "data", "style")]


def test_the_page_of_the_interface_loads_nothing(http):
    answer = http.get("/docs")
    links = Links()
    links.feed(answer.text)
    assert links.found == ["openapi.json"]
    assert "url(" not in answer.text and "@import" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "/threads/{thread_id}/runs/wait" in answer.text


def test_every_answer_carries_the_requests_id(http):
    for path in ("/ok", "/info", "/metrics", "/docs", "/openapi.json", "/threads/x", "/nowhere"):
        assert http.get(path, headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"
        assert len(http.get(path).headers["x-request-id"]) == 36
