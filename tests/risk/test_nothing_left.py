"""Whatever is deleted, or discarded with a stateless run, leaves no row in any table once what is kept for a while has expired.

Each test counts the rows of all tables before and after: whoever adds a table need not think of it here.
"""

import asyncio
from pathlib import Path

import pytest

from tests.in_process import serving
from tests.storages import KINDS, kind_of, rows_of

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "risk" / "langgraph.json"
LONG = 30 * 24 * 3600
"""Longer than anything is kept that was deleted, in seconds."""

ONE = {"todo": 1, "pause": 0}
"""The input of a graph that takes one step."""

TOLD = "/runs/crons/count"
"""A webhook that takes whatever it is told."""

COUNTERS = {"fences", "sqlite_sequence", "forks"}
"""Tables that only count, and where copies came from, which is to outlive threads."""

OF_THE_THREAD = {"states", "event_logs", "event_floors"}
"""What a thread has once something ran on it: what it shows, and how far its events are numbered."""

NAMES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
    "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = 'threadloom' ORDER BY tablename",
}


@pytest.fixture(params=KINDS)
def where(request):
    """What the environment says of the database."""
    return {} if request.param == "sqlite" else {"DATABASE_URI": request.getfixturevalue("database")}


@pytest.fixture
async def served(where, tmp_path):
    """A server, a client and a clock, and what tells of rows that are more than before."""
    async with serving(APP, where, tmp_path) as (server, client, clock):
        house = House(server, client, clock)
        house.before = await house.rows()
        yield house


class House:
    def __init__(self, server, client, clock):
        self.server, self.client, self.clock = server, client, clock

    async def rows(self):
        """How many rows each table has."""

        def count():
            names = [name for (name,) in rows_of(self.server.storage, NAMES[kind_of(self.server.storage)])]
            counted = sorted(set(names) - COUNTERS)
            query = " UNION ALL ".join(f"SELECT '{name}', (SELECT count(*) FROM {name})" for name in counted)
            return dict(rows_of(self.server.storage, query))

        return await asyncio.to_thread(count)

    async def left(self):
        """Tables that have more rows than before, after everything has expired, and how many more."""
        self.clock.set(LONG)
        await self.server.retention.sweep()
        await self.server.retention.sweep()
        now = await self.rows()
        return {name: now[name] - self.before[name] for name in now if now[name] != self.before[name]}

    async def post(self, path, **body):
        answer = await self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer

    async def thread(self):
        return (await self.post("/threads")).json()["thread_id"]


async def test_stateless_streams_that_can_be_resumed(served):
    for n in range(20):
        answer = await served.post("/runs/stream", assistant_id="steps", input=ONE, stream_resumable=True)
        assert "id: " in answer.text, n
    assert (await served.rows())["events"] > 0
    assert await served.left() == {}


async def test_stateless_runs(served):
    await served.post("/runs/wait", assistant_id="steps", input=ONE, webhook=TOLD)
    await delivered(served)
    await served.post("/runs/wait", assistant_id="steps", input={"todo": "wrong"}, stream_resumable=True)
    await served.post("/runs/wait", assistant_id="asking", input={})
    made = (await served.post("/runs", assistant_id="steps", input=ONE, after_seconds=600)).json()
    await served.post(f"/threads/{made['thread_id']}/runs/{made['run_id']}/cancel")
    assert await served.left() == {}


async def test_a_stateless_run_with_others_on_its_thread(served):
    """Whoever knows the id of a thread that is to be discarded can run more on it, and make a cron."""
    made = (await served.post("/runs", assistant_id="steps", input=ONE, after_seconds=600)).json()
    thread = f"/threads/{made['thread_id']}"
    await served.post(f"{thread}/runs/wait", assistant_id="steps", input=ONE, stream_resumable=True)
    await served.post(f"{thread}/runs/crons", assistant_id="steps", schedule="0 0 1 1 *", input=ONE)
    await start_v2(served, made["thread_id"])
    await served.post(f"{thread}/runs/{made['run_id']}/cancel")
    assert (await served.client.get(thread)).status_code == 404
    assert await served.left() == {}


async def test_a_thread_with_all_that_it_can_have(served):
    thread = await served.thread()
    at = f"/threads/{thread}"
    await served.post(f"{at}/runs/wait", assistant_id="asking", input=ONE, stream_resumable=True, webhook=TOLD)
    await delivered(served)
    await start_v2(served, thread)
    await served.post(f"{at}/runs/crons", assistant_id="steps", schedule="0 0 1 1 *", input=ONE)
    await served.post(f"{at}/runs", assistant_id="steps", input=ONE, after_seconds=600)
    copy = (await served.post(f"{at}/copy")).json()["thread_id"]
    await served.post(f"/threads/{copy}/runs/wait", assistant_id="steps", input=ONE)
    await served.post(
        f"/threads/{copy}/reset",
        checkpoint_id=(await served.client.put(f"/threads/{copy}/tags/here")).json()["checkpoint_id"],
    )
    again = (await served.post(f"/threads/{copy}/copy")).json()["thread_id"]
    await served.post(f"/threads/{copy}/promote", thread_id=again)
    await served.post(f"/threads/{copy}/reset", undo=True)
    assert (await served.client.delete(f"/threads/{again}")).status_code == 204
    assert (await served.client.delete(at)).status_code == 204
    assert (await served.client.delete(f"/threads/{copy}")).status_code == 204
    assert await served.left() == {}


async def test_runs_that_are_deleted_one_by_one(served):
    thread = await served.thread()
    at = f"/threads/{thread}/runs"
    served.before = await served.rows()
    await served.post(f"{at}/wait", assistant_id="steps", input=ONE, stream_resumable=True, webhook=TOLD)
    await delivered(served)
    made = (await served.post(at, assistant_id="steps", input=ONE, after_seconds=600)).json()
    for run in [made, *(await served.client.get(at)).json()]:
        await served.client.delete(f"{at}/{run['run_id']}")
    assert (await served.client.get(at)).json() == []
    assert set(await served.left()) <= OF_THE_THREAD


async def test_a_run_that_is_rolled_back_after_its_worker_was_lost(served):
    """It waits for its next attempt, and its first one has left checkpoints and events."""
    thread = await served.thread()
    at = f"/threads/{thread}/runs"
    await served.post(f"{at}/wait", assistant_id="steps", input=ONE)
    before = (await served.client.get(f"/threads/{thread}/history?limit=100")).json()
    served.before = await served.rows()
    run = await half_done(served, thread)
    assert len((await served.client.get(f"/threads/{thread}/history?limit=100")).json()) > len(before)
    await served.post(f"{at}/{run}/cancel?action=rollback")
    assert (await served.client.get(f"/threads/{thread}/history?limit=100")).json() == before
    assert (await served.client.get(f"/threads/{thread}")).json()["status"] == "idle"
    assert set(await served.left()) <= OF_THE_THREAD


async def test_a_run_that_is_interrupted_after_its_worker_was_lost(served):
    """Its checkpoints stay, the thread shows them, and its events go with time."""
    thread = await served.thread()
    at = f"/threads/{thread}"
    run = await half_done(served, thread)
    await served.post(f"{at}/runs/{run}/cancel")
    record, state = [(await served.client.get(path)).json() for path in (at, f"{at}/state")]
    assert (record["status"], record["values"]) == ("interrupted", state["values"])
    assert (state["next"], len(state["values"]["done"]) > 0) == (["step"], True)
    assert (await served.rows())["events"] > 0
    assert "events" not in await served.left()


async def half_done(served, thread):
    """A run in the queue that was tried once, and has stored events and checkpoints. Nobody takes it up."""
    slow = {"todo": 1000, "pause": 0.02}
    made = await served.post(f"/threads/{thread}/runs", assistant_id="steps", input=slow, stream_resumable=True)
    run_id = made.json()["run_id"]
    async with asyncio.timeout(20):
        while not await put_and_told(served, thread, run_id):
            await asyncio.sleep(0.02)
    served.server.worker.drain()
    await served.server.storage.write(lambda tx: tx.runs.requeue(run_id, attempt=1))
    return run_id


async def put_and_told(served, thread, run_id):
    """Whether the run has made a step."""
    state = (await served.client.get(f"/threads/{thread}/state")).json()
    return state["values"].get("done") and await served.server.storage.read(lambda tx: tx.events.of_run(run_id))


async def start_v2(served, thread):
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": "steps", "input": ONE}}
    made = (await served.client.post(f"/threads/{thread}/commands", json=command)).json()
    run = made["result"]["run_id"]
    await served.client.get(f"/threads/{thread}/runs/{run}/join")


async def delivered(served):
    """Waits until no delivery of a webhook is pending."""
    async with asyncio.timeout(20):
        while True:
            found = (await served.client.get("/webhooks/deliveries")).json()
            if found and all(one["status"] != "pending" for one in found):
                return
            await asyncio.sleep(0.05)
