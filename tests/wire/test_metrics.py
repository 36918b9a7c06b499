"""`/metrics`, as Prometheus and as a program read it, and `/docs`."""

import json
from html.parser import HTMLParser

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

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
    """The values by the names and labels of their samples, as Prometheus' own client reads them."""
    answer = http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    return values_of(text_string_to_metric_families(answer.text))


def values_of(families):
    families = list(families)
    assert len({family.name for family in families}) == len(families), "each family is declared once"
    found = {}
    for family in families:
        assert family.documentation and family.type != "unknown", family.name
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def labelled(name, **labels):
    return name, frozenset(labels.items())


WAIT = {"method": "POST", "path": "/threads/{thread_id}/runs/wait", "status": "200"}
GRAPH = 'the "first"\n'


def test_requests_are_counted_by_route(figures):
    assert figures[labelled("mine_http_requests_total", **WAIT)] == 3
    assert figures[labelled("mine_http_requests_latency_count", **WAIT)] == 3
    assert figures[labelled("mine_http_requests_latency_bucket", **WAIT, le="+Inf")] == 3
    assert figures[labelled("mine_http_requests_total", method="GET", path="", status="404")] == 1


def test_runs_are_counted_by_graph_and_end(figures):
    assert figures[labelled("mine_runs_total", graph=GRAPH, status="success")] == 2
    assert figures[labelled("mine_runs_total", graph=GRAPH, status="error")] == 1
    assert figures[labelled("mine_runs_duration_seconds_count", graph=GRAPH, status="success")] == 2


def test_workers_queue_process_and_python_are_told(figures):
    slots = [figures[labelled(f"mine_workers_{what}")] for what in ("max", "active", "available")]
    assert slots == [100, 0, 100]
    for name in ("n_pending", "n_running", "pending_runs_wait_time_max_secs"):
        assert figures[labelled(f"mine_queue_{name}")] == 0
    assert {name.partition("_")[0] for name, _ in figures} == {"process", "python", "mine"}
    names = {name for name, _ in figures}
    assert {"python_info", "python_gc_collections_total", "process_start_time_seconds"} <= names
    for name in ("cpu_seconds_total", "resident_memory_bytes", "resident_memory_max_bytes", "open_fds", "max_fds"):
        assert figures[labelled(f"process_{name}")] > 0


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    "accept", [PROMETHEUS, "application/OpenMetrics-Text; version=1.x", "*/*, application/openmetrics-text"]
)
def test_who_asks_for_openmetrics_gets_it(http, figures, accept):
    answer = http.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.text.endswith("\n# EOF\n")
    found = values_of(openmetrics.text_string_to_metric_families(answer.text))
    assert found.keys() >= figures.keys()
    assert found[labelled("mine_runs_total", graph=GRAPH, status="success")] == 2


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
