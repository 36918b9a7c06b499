"""OpenTelemetry as a collector sees it: OpenTelemetry's own exporter sends to one in the test's process."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.server import running

CODE = """
from typing import TypedDict
from langgraph.graph import START, StateGraph
from langgraph_sdk import get_client
from opentelemetry import trace

class State(TypedDict, total=False):
    text: str
    call: bool

async def node(state):
    with trace.get_tracer("mine").start_as_current_span("the app's own"):
        if state.get("call"):
            await get_client().threads.create()
    if state.get("text") == "fail":
        raise ValueError("confidential")
    return {"text": "an answer"}

graph = StateGraph(State).add_node(node).add_edge(START, "node").compile()
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


class Collector:
    """Takes what is sent to `/v1/traces` and `/v1/metrics`."""

    def __init__(self) -> None:
        self.spans = []
        self.points = []
        self.resources = []
        self.bodies = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(_attributes(resource.resource))
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resources.append(_attributes(resource.resource))
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        data = getattr(metric, metric.WhichOneof("data"))
                        self.points += [(metric.name, _attributes(point), point) for point in data.data_points]

    def span(self, name: str, **attributes: object):
        """The span of that name with these attributes (`__` for dots), as soon as it is there."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return self.wait(
            lambda: next(
                (span for span in self.spans if span.name == name and wanted.items() <= _attributes(span).items()), None
            )
        )

    def point(self, name: str, **attributes: object):
        """The newest point of a metric with these attributes, as soon as there is one."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return self.wait(
            lambda: next(
                (point for n, told, point in reversed(self.points) if n == name and wanted.items() <= told.items()),
                None,
            )
        )

    def reads(self, name: str, value: int, **attributes: object) -> None:
        """Waits until the newest point of a metric with these attributes has that value."""
        self.wait(lambda: self.point(name, **attributes).as_int == value or None)

    def wait(self, look):
        deadline = time.monotonic() + 120
        while (found := look()) is None:
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.05)
        return found


def _attributes(record) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in record.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()


def an_app(folder: Path) -> Path:
    (folder / "agent.py").write_text(CODE)
    config = {"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}
    (folder / "langgraph.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def server(collector, tmp_path_factory):
    folder = an_app(tmp_path_factory.mktemp("telemetry"))
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    with running(folder, folder / "data", env=env) as server:
        yield server


def ask(server, method, path, **more):
    return httpx.request(method, server.url + path, timeout=30, **more)


def a_thread(server) -> str:
    return ask(server, "POST", "/threads", json={}).json()["thread_id"]


def test_a_request_and_its_run_continue_the_callers_trace(collector, server):
    thread_id = a_thread(server)
    body = {"assistant_id": "agent", "input": {"text": "private words"}}
    headers = {"traceparent": CALLER, "authorization": "Bearer secret-token", "x-request-id": "mine-1"}
    answer = ask(server, "POST", f"/threads/{thread_id}/runs/wait?q=hidden", json=body, headers=headers)
    (run,) = ask(server, "GET", f"/threads/{thread_id}/runs").json()

    request = collector.span("POST /threads/{thread_id}/runs/wait", threadloom__thread__id=thread_id)
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == CALLER.split("-")[2]
    told = _attributes(request)
    assert told["http.response.status_code"] == 200
    assert told["http.route"] == "/threads/{thread_id}/runs/wait"
    assert told["threadloom.request.id"] == "mine-1"

    span = collector.span("run agent", threadloom__run__id=run["run_id"])
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id == request.span_id
    assert _attributes(span) == {
        "threadloom.run.id": run["run_id"],
        "threadloom.thread.id": thread_id,
        "gen_ai.conversation.id": thread_id,
        "threadloom.graph.id": "agent",
        "threadloom.assistant.id": run["assistant_id"],
        "threadloom.run.attempt": 1,
        "threadloom.run.status": "success",
    }
    own = collector.span("the app's own")
    assert own.trace_id.hex() == TRACE and own.parent_span_id == span.span_id

    assert answer.json() == {"text": "an answer"}
    for text in (b"private words", b"an answer", b"secret-token", b"hidden"):
        assert not any(text in body for body in collector.bodies)


def test_a_failed_run_tells_its_kind_of_error_and_not_its_text(collector, server):
    ask(server, "POST", "/runs/wait", json={"assistant_id": "agent", "input": {"text": "fail"}})
    span = collector.span("run agent", threadloom__run__status="error")
    assert _attributes(span)["error.type"] == "ValueError"
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert not any(b"confidential" in body for body in collector.bodies)


def test_calls_that_a_graph_makes_to_the_server_are_on_its_trace(collector, server):
    ask(
        server,
        "POST",
        "/runs/wait",
        json={"assistant_id": "agent", "input": {"call": True}},
        headers={"traceparent": CALLER.replace("0af", "1af")},
    )

    def inner():
        found = [s for s in collector.spans if s.name == "POST /threads" and s.trace_id.hex() == "1" + TRACE[1:]]
        return found[0] if found else None

    assert collector.wait(inner)


def test_without_a_trace_of_the_callers_one_begins(collector, server):
    a_thread(server)
    span = collector.wait(
        lambda: next((s for s in collector.spans if s.name == "POST /threads" and not s.parent_span_id), None)
    )
    assert span.kind == span.SPAN_KIND_SERVER


def test_streams_end_their_spans_when_they_have_ended(collector, server):
    thread_id = a_thread(server)
    ask(server, "POST", f"/threads/{thread_id}/runs/stream", json={"assistant_id": "agent", "input": {}})
    request = collector.span("POST /threads/{thread_id}/runs/stream", threadloom__thread__id=thread_id)
    run = collector.span("run agent", threadloom__thread__id=thread_id)
    assert request.end_time_unix_nano >= run.end_time_unix_nano
    assert "Failed to detach" not in server.log()


def test_a_background_run_is_on_the_trace_of_its_request(collector, server):
    trace = "2" + TRACE[1:]
    thread_id = a_thread(server)
    body = {"assistant_id": "agent", "input": {}, "after_seconds": 0.3}
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    ask(server, "POST", f"/threads/{thread_id}/runs", json=body, headers=headers)
    assert collector.span("run agent", threadloom__thread__id=thread_id).trace_id.hex() == trace


def test_figures_are_sent(collector, server):
    ask(server, "POST", "/runs/wait", json={"assistant_id": "agent", "input": {}})
    counted = collector.point("threadloom.runs", threadloom__graph__id="agent", threadloom__run__status="success")
    assert counted.as_int >= 1
    for name in ("threadloom.run.duration", "threadloom.run.wait"):
        measured = collector.point(name, threadloom__graph__id="agent")
        assert measured.count >= 1 and measured.sum > 0
    requests = collector.point("http.server.request.duration", http__route="/runs/wait")
    assert requests.count >= 1
    collector.reads("threadloom.queue.runs", 0, state="pending")
    collector.reads("threadloom.workers", 100, state="max")


def test_the_service_is_named(collector, server):
    a_thread(server)
    collector.span("POST /threads")
    resource = collector.resources[0]
    assert resource["service.name"] == "threadloom"
    assert resource["deployment.environment.name"] == "test"


def test_log_lines_carry_the_trace(collector, server):
    trace = "3" + TRACE[1:]
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    ask(server, "POST", "/runs/wait", json={"assistant_id": "agent", "input": {}}, headers=headers)
    lines = [json.loads(line) for line in server.log().splitlines() if trace in line]
    assert {"threadloom.access", "threadloom.run"} <= {line["logger"] for line in lines}


def test_what_is_not_sent_yet_is_sent_at_the_end(tmp_path):
    collector = Collector()
    folder = an_app(tmp_path)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with running(folder, tmp_path / "data", env=env) as server:
        ask(server, "POST", "/runs/wait", json={"assistant_id": "agent", "input": {}})
        assert collector.spans == []
        assert server.stop() == 0
    assert {"run agent", "POST /runs/wait"} <= {span.name for span in collector.spans}
    assert "threadloom.runs" in {name for name, _, _ in collector.points}


def test_a_collector_that_is_away_disturbs_nobody(tmp_path):
    folder = an_app(tmp_path)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with running(folder, tmp_path / "data", env=env) as server:
        assert ask(server, "POST", "/runs/wait", json={"assistant_id": "agent", "input": {}}).status_code == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 60


def test_a_missing_package_is_said_aloud(tmp_path):
    folder = an_app(tmp_path)
    (folder / "agent.py").write_text(CODE.replace("from opentelemetry import trace", "").replace("trace.get", "no.get"))
    (folder / "opentelemetry").mkdir()
    (folder / "opentelemetry" / "__init__.py").write_text("raise ImportError('hidden', name='opentelemetry')")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with running(folder, tmp_path / "data", env=env) as server:
        assert "NO TRACES OR METRICS ARE SENT" in server.log()
        assert "pip install 'threadloom[otel]'" in server.log()
        assert ask(server, "GET", "/ok").json()["ok"]


def test_nothing_is_imported_or_made_without_an_endpoint(tmp_path):
    folder = an_app(tmp_path)
    code = CODE.replace("from opentelemetry import trace", "").replace("trace.get", "no.get")
    (folder / "agent.py").write_text(
        code
        + "\nimport sys\nprint('loaded', sorted(n for n in sys.modules if n.startswith('opentelemetry.exporter')))\n"
    )
    with running(folder, tmp_path / "data") as server:
        assert "loaded []" in server.log()
        thread_id = a_thread(server)
        body = {"assistant_id": "agent", "input": {}, "after_seconds": 60}
        run = ask(server, "POST", f"/threads/{thread_id}/runs", json=body, headers={"traceparent": CALLER}).json()
        assert "traceparent" not in run["kwargs"]
