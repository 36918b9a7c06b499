"""Status, values, questions and error of a thread agree with its state: after stops, copies and deletions"""

import asyncio

import pytest

from tests.risk.asking import Thread, on_both, started

pytestmark = pytest.mark.anyio


@on_both
@pytest.mark.parametrize("graph", ["stop", "stop_before", "stop_after", "stop_called", "stop_deep"])
async def test_a_stop_shows_wherever_it_is(client, graph):
    thread = await started(client, graph)
    assert await thread.questions() == []
    record = await client.threads.get(thread.id)
    assert record["status"] == "interrupted"
    copy = await thread.copy()
    waiting = await client.runs.create(thread.id, graph, input=None, after_seconds=3600)
    await client.runs.cancel(thread.id, waiting["run_id"])
    assert await client.threads.search(ids=[thread.id, copy.id], status="idle") == []
    for side in (thread, copy):
        await side.questions()
        await side.run(input=None)
        await side.questions()
    assert (await client.threads.get(thread.id))["status"] == ("interrupted" if graph == "stop" else "idle")


@on_both
@pytest.mark.parametrize("graph", ["stop_before", "inner", "pair"])
async def test_deleting_an_interrupted_run_leaves_nothing_of_it(client, graph):
    thread = await started(client, graph)
    [run] = await client.runs.list(thread.id)
    await client.runs.delete(thread.id, run["run_id"])
    record, state = await client.threads.get(thread.id), await client.threads.get_state(thread.id)
    assert (record["status"], record["values"], record["interrupts"], record["error"]) == ("idle", None, {}, None)
    assert (state["values"], state["next"], state["tasks"]) == ({}, [], [])


@on_both
async def test_deleting_the_newest_run_goes_back_to_the_one_before(client):
    thread = Thread(client, "failing", (await client.threads.create())["thread_id"])
    await thread.run(input={"said": [thread.id]})
    [asked] = await thread.questions()
    await thread.resume("a")
    record = await client.threads.get(thread.id)
    assert (record["status"], record["error"]["message"]) == ("error", "not this time")
    failed, first = await client.runs.list(thread.id)
    await client.runs.delete(thread.id, failed["run_id"])
    assert await thread.questions() == [asked]
    record = await client.threads.get(thread.id)
    assert (record["status"], record["error"]) == ("interrupted", None)
    await thread.resume("b")
    await thread.run(input=None)
    await thread.resume("c")
    await client.runs.delete(thread.id, first["run_id"])
    assert await thread.questions() == []


@on_both
async def test_the_copy_of_a_running_thread_shows_what_it_copied(client):
    thread = await started(client, "loop", rounds=4, pause=0.5)
    await thread.resume("a")
    run = await client.runs.create(thread.id, "loop", command={"resume": {(await thread.questions())[0]["id"]: "b"}})
    copies = [await thread.copy() for _ in range(2)]
    for copy in copies:
        record = await client.threads.get(copy.id)
        assert record["status"] == "interrupted"
        assert (await copy.asked(), await copy.said()) == (["round 1"], [["round 0", "a"]])
    await client.runs.join(thread.id, run["run_id"])
    assert await thread.asked() == ["round 2"]
    fresh = await started(client, "slow", pause=0)
    await client.runs.create(fresh.id, "slow", input={"said": ["new"], "pause": 30})
    while len((await client.threads.get_state(fresh.id))["values"]["said"]) < 4:
        await asyncio.sleep(0.02)
    copy = await fresh.copy()
    await copy.questions()
    record = await client.threads.get(copy.id)
    assert (record["status"], record["values"]["said"]) == ("interrupted", ["written", "rested", "new", "written"])
    await client.threads.delete(fresh.id)
