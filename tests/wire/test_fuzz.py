"""Schemathesis on our own description: whatever is sent, no answer is a 500, and none breaks what the description says."""

from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.server import running
from threadloom.api.docs import document
from threadloom.ids import default_assistant_id, parse_id

APP = Path(__file__).parent.parent / "apps" / "records"
EXAMPLES = 12

DOCUMENT = {**document(), "servers": [{"url": "http://127.0.0.1"}]}
LEFT_OUT = "/threads/{thread_id}/stream/events"
"""Waits for ever, also for threads that are not there; see test_protocol_stream.py."""
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() if path != LEFT_OUT for method in item]

THREAD = "01a20be8-681c-74a1-ade6-26e7b55ceb54"
KNOWN = {"thread_id": THREAD, "assistant_id": default_assistant_id("echo")}
ENDLESS = "/threads/{thread_id}/stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server, called over one connection."""
    with running(APP, tmp_path_factory.mktemp("fuzz") / "data") as server, httpx.Client(base_url=server.url) as http:
        yield http


@pytest.fixture(scope="module")
def operation():
    """From path and method to Schemathesis's operation."""
    # Imported here: it takes seconds, and every process of the tests collects this file.
    import schemathesis

    schema = schemathesis.openapi.from_dict(DOCUMENT)
    return lambda path, method: schema[path][method]


@pytest.fixture(scope="module")
def checks():
    """What must hold of every answer."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    conformance = (checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance)
    return [not_a_server_error, *conformance]


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


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_input_gives_a_500(path, method, operation, checks, server):
    @seed(20260801)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation(path, method).as_strategy())
    def holds(case):
        aim(case, server)
        response = case.call(base_url=str(server.base_url), timeout=20)
        case.validate_response(response, checks=checks)

    holds()
