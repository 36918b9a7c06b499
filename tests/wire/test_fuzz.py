"""Schemathesis on our own description: whatever is sent, no answer is a 500, and none breaks what the description says."""

from pathlib import Path

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

APP = Path(__file__).parent.parent / "apps" / "records"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12

schema = schemathesis.openapi.from_dict(
    {**document(), "servers": [{"url": "http://127.0.0.1"}]}
).exclude(
    path="/threads/{thread_id}/stream/events"  # waits for ever, also for threads that are not there; see test_protocol_stream.py
)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("fuzz") / "data") as server:
        yield server.url


@schema.parametrize()
@seed(20260801)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_input_gives_a_500(case, url):
    response = case.call(base_url=url, timeout=20)
    case.validate_response(response, checks=CHECKS)
