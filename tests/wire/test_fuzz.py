"""Schemathesis on our own description: whatever is sent, no answer is a 500, and none breaks what the description says."""

from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server import running
from threadloom.api.docs import document
from threadloom.ids import default_assistant_id, parse_id

APP = Path(__file__).parent.parent / "apps" / "records"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12

schema = schemathesis.openapi.from_dict(
    {**document(), "servers": [{"url": "http://127.0.0.1"}]}
).exclude(
    path="/threads/{thread_id}/stream/events"  # waits for ever, also for threads that are not there; see test_protocol_stream.py
)


THREAD = "01a20be8-681c-74a1-ade6-26e7b55ceb54"
KNOWN = {"thread_id": THREAD, "assistant_id": default_assistant_id("echo")}
ENDLESS = "/threads/{thread_id}/stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server, called over one connection."""
    with running(APP, tmp_path_factory.mktemp("fuzz") / "data") as server, httpx.Client(base_url=server.url) as http:
        yield http


def aim(case, http):
    """Points a case at things that exist, so that it gets past the first check."""
    if case.path_parameters and case.operation.path != ENDLESS:
        for name, known in KNOWN.items():
            if parse_id(str(case.path_parameters.get(name))):
                case.path_parameters[name] = known
        body = {"thread_id": THREAD, "if_exists": "do_nothing", "metadata": {"graph_id": "echo"}}
        http.post("/threads", json=body).raise_for_status()
    if isinstance(case.body, dict) and isinstance(case.body.get("assistant_id"), str):
        case.body["assistant_id"] = "echo"


@schema.parametrize()
@seed(20260801)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_input_gives_a_500(case, server):
    aim(case, server)
    response = case.call(base_url=str(server.base_url), timeout=20)
    case.validate_response(response, checks=CHECKS)
