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


async def test_delayed_runs_begin_when_they_are_due(client, http):
    """One after the other, so that nothing else wakes the worker: a run could come due between its two looks."""
    for number in range(30):
        asked = {"assistant_id": "count", "input": {"n": 1}, "after_seconds": 0.05 + 0.0023 * number}
        run = (await http.post("/runs", json=asked)).json()
        async with asyncio.timeout(5):
            while (await http.get(f"/threads/{run['thread_id']}")).status_code == 200:
                await asyncio.sleep(0.01)
