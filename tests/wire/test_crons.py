"""Crons over HTTP: a real server that looks for due ones all the time."""

import asyncio
import uuid
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client

from tests.server import Server
from threadloom.ids import default_assistant_id

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "records"
TICKING = default_assistant_id("ticking")
RARE = "0 0 1 1 *"
EVERY_SECOND = "* * * * * *"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    data = tmp_path_factory.mktemp("server") / "data"
    server = Server(APP, data, env={"CRON_SCHEDULER_SLEEP_TIME": "0.05"}).start()
    yield server
    server.kill()


@pytest.fixture
def client(server):
    return get_client(url=server.url)


@pytest.fixture
async def http(server):
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as session:
        yield session


async def until(probe, seconds=20):
    """The first answer of a probe that says something."""
    for _ in range(seconds * 20):
        if found := await probe():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


async def test_one_goes_through_its_life(client, http):
    made = await client.crons.create(
        "ticking", schedule=RARE, input={"ticks": 1}, metadata={"a": 1}, timezone="Asia/Tokyo"
    )
    assert made["next_run_date"].endswith("-12-31T15:00:00.000000+00:00")
    assert (made["last_run_id"], made["last_error"]) == (None, None)
    path = f"/runs/crons/{made['cron_id']}"
    changed = (await http.patch(path, json={"timezone": None, "metadata": {"b": 2}, "note": "kept"})).json()
    assert changed["next_run_date"].endswith("-01-01T00:00:00.000000+00:00")
    assert (changed["metadata"], changed["payload"]["note"]) == ({"a": 1, "b": 2}, "kept")
    assert (await http.get(path)).json() == changed
    assert (await http.delete(path)).status_code == 204
    missing = await http.get(path)
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"schedule": RARE}, 422, "assistant_id"),
        ({"assistant_id": "ticking"}, 422, "schedule"),
        ({"assistant_id": "nobody", "schedule": RARE}, 404, "Assistant 'nobody' not found"),
        ({"assistant_id": "ticking", "schedule": "soon"}, 422, "Invalid cron schedule: 'soon'"),
        ({"assistant_id": "ticking", "schedule": "0 0 30 2 *"}, 400, "failed to find next date"),
        ({"assistant_id": "ticking", "schedule": RARE, "timezone": ""}, 422, "Invalid timezone: ''"),
        ({"assistant_id": "ticking", "schedule": RARE, "end_time": "whenever"}, 422, "end_time"),
        ({"assistant_id": "ticking", "schedule": RARE, "metadata": None}, 422, "metadata"),
        ({"assistant_id": "ticking", "schedule": RARE, "timezone": None}, 422, "timezone"),
        ({"assistant_id": "ticking", "schedule": RARE, "end_time": None}, 422, "end_time"),
        ({"assistant_id": "ticking", "schedule": RARE, "enabled": 1}, 422, "enabled"),
        ({"assistant_id": "ticking", "schedule": RARE, "input": "text"}, 422, "input"),
        ({"assistant_id": "ticking", "schedule": RARE, "on_run_completed": "x"}, 422, "on_run_completed"),
        (["assistant_id"], 422, ""),
    ],
)
async def test_what_cannot_be_is_refused_by_name(http, body, status, named):
    answer = await http.post("/runs/crons", json=body)
    assert answer.status_code == status
    assert named in answer.json()["detail"]


async def test_searched_by_graph_name_and_counted_with_every_filter(client, http):
    mark = uuid.uuid4().hex
    on = await client.crons.create("ticking", schedule=RARE, metadata={"mark": mark})
    off = await client.crons.create("ticking", schedule=RARE, metadata={"mark": mark}, enabled=False)
    body = {"assistant_id": "ticking", "metadata": {"mark": mark}}
    found = await http.post("/runs/crons/search", json={**body, "limit": 1, "select": ["cron_id", "user_id"]})
    assert found.json() == [{"cron_id": off["cron_id"], "user_id": ""}]
    assert (found.headers["x-pagination-next"], found.headers["x-pagination-total"]) == ("1", "2")
    assert (await http.post("/runs/crons/count", json={**body, "enabled": True})).json() == 1
    assert (await http.post("/runs/crons/search", json={"assistant_id": "nobody"})).status_code == 422
    for one in (on, off):
        await client.crons.delete(one["cron_id"])


async def test_a_due_cron_runs_and_its_runs_can_be_found(client, http):
    thread_id = (await client.threads.create())["thread_id"]
    on_thread = await client.crons.create_for_thread(thread_id, "ticking", schedule=EVERY_SECOND, input={})
    keeping = await client.crons.create("ticking", schedule=EVERY_SECOND, input={}, on_run_completed="keep")
    throwing = await client.crons.create("ticking", schedule=EVERY_SECOND, input={})

    async def kept():
        threads = await client.threads.search(metadata={"cron_id": keeping["cron_id"]})
        return [thread for thread in threads if thread["status"] == "idle"]

    async def ran():
        return [run for run in await client.runs.list(thread_id) if run["status"] == "success"]

    async def fired():
        return (await http.get(f"/runs/crons/{throwing['cron_id']}")).json()["last_run_id"]

    (thread, *_), (run, *_) = await until(kept), await until(ran)
    await until(fired)
    for one in (on_thread, keeping, throwing):
        await client.crons.delete(one["cron_id"])
    assert thread["values"] == {"ticks": 1}
    assert thread["metadata"]["assistant_id"] == TICKING
    assert run["metadata"]["cron_id"] == on_thread["cron_id"]
    state = await client.threads.get_state(thread_id)
    assert state["metadata"]["cron_id"] == on_thread["cron_id"]

    async def thrown_away():
        return not await client.threads.search(metadata={"cron_id": throwing["cron_id"]})

    await until(thrown_away)


async def test_a_cron_goes_with_its_thread(client, http):
    thread_id = (await client.threads.create())["thread_id"]
    cron = await client.crons.create_for_thread(thread_id, "ticking", schedule=RARE)
    await client.threads.delete(thread_id)
    assert (await http.get(f"/runs/crons/{cron['cron_id']}")).status_code == 404
    answer = await http.post(f"/threads/{thread_id}/runs/crons", json={"assistant_id": "ticking", "schedule": RARE})
    assert answer.status_code == 404


@pytest.mark.parametrize("how", ["ends", "is cancelled"])
async def test_a_cron_on_the_thread_of_a_stateless_run_goes_with_it(client, http, how):
    later = 0.3 if how == "ends" else 600
    run = (await http.post("/runs", json={"assistant_id": "ticking", "input": {}, "after_seconds": later})).json()
    cron = (
        await http.post(f"/threads/{run['thread_id']}/runs/crons", json={"assistant_id": "ticking", "schedule": RARE})
    ).json()
    assert (await http.get(f"/runs/crons/{cron['cron_id']}")).status_code == 200
    if how == "is cancelled":
        cancelled = await http.post(f"/threads/{run['thread_id']}/runs/{run['run_id']}/cancel")
        assert cancelled.status_code < 300

    async def gone():
        return (await http.get(f"/threads/{run['thread_id']}")).status_code == 404

    await until(gone)
    assert (await http.get(f"/runs/crons/{cron['cron_id']}")).status_code == 404


async def test_a_cron_lives_through_a_kill(client, server):
    cron = await client.crons.create("ticking", schedule=RARE, metadata={"survives": True})
    server.kill()
    server.start()
    assert await client.crons.search(metadata={"survives": True}) == [cron]
