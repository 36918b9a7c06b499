"""LangGraph's own conformance suite for checkpoint savers, in full, on every storage."""

import pytest
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES, Capability
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer
from langgraph.checkpoint.conformance.validate import validate

from tests.encryptions import CIPHERS
from tests.savers import SAVERS, saver_of

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


@pytest.mark.parametrize("capability", sorted(ALL_CAPABILITIES, key=lambda capability: capability.value))
@pytest.mark.parametrize("kind", SAVERS)
async def test_capability(storage, capability: Capability, kind):
    async def fresh():
        async with saver_of(storage, kind) as saver:
            yield saver

    report = await validate(RegisteredCheckpointer("threadloom", fresh), capabilities={capability.value})
    result = report.results[capability.value]
    assert result.detected
    assert result.failures == []
    assert result.tests_passed > 0
    assert result.passed
