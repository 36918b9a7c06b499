"""Streams of runs, beyond what the conformance suite shows."""

import asyncio
from pathlib import Path

import pytest

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "agents"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


async def test_an_output_schema_narrows_values_and_updates(client):
    thread = await client.threads.create()
    parts = [
        (part.event, part.data)
        async for part in client.runs.stream(
            thread["thread_id"], "count", input={"n": 1}, stream_mode=["values", "updates"]
        )
        if part.event in ("values", "updates")
    ]
    assert parts == [("updates", {"node": {"total": 2}}), ("values", {"total": 2})]
    kept = await client.threads.get(thread["thread_id"])
    state = await client.threads.get_state(thread["thread_id"])
    assert kept["values"] == state["values"] == {"n": 1, "total": 2}, "the thread keeps all of its state"


async def test_delayed_runs_begin_when_they_are_due(client):
    """One after the other, so that nothing else wakes the worker: a run could come due between its two looks."""
    for _ in range(40):
        async with asyncio.timeout(5):
            assert await client.runs.wait(None, "count", input={"n": 1}, after_seconds=0.02) == {"total": 2}
