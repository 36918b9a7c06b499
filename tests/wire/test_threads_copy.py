"""Copying threads over HTTP, beyond what the conformance suite shows: options, lineage, and living apart."""

import asyncio
import uuid
from pathlib import Path

import anyio
import pytest

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "threads"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


async def ran(client, graph="chain", **how):
    thread = (await client.threads.create(graph_id=graph, metadata={"owner": "ann"}))["thread_id"]
    await client.runs.wait(thread, graph, input={"x": 0}, **how)
    return thread


async def copied(http, thread, **options):
    answer = await http.post(f"/threads/{thread}/copy", json=options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def states(client, thread, **how):
    return await client.threads.get_history(thread, limit=1000, **how)


async def before(client, thread, node):
    """The checkpoint at which a node is the next to run."""
    return next(state for state in await states(client, thread) if state["next"] == [node])


async def until_counting(client, thread):
    """Waits, by looking again and again, until the loop on a thread has taken a step."""
    for _ in range(500):
        if (await client.threads.get_state(thread))["values"].get("n"):
            return
        await anyio.sleep(0.02)
    raise AssertionError("the loop took no step")


# --- options ---


async def test_a_copy_tells_where_it_came_from(client, http):
    thread = await ran(client)
    newest = (await states(client, thread))[0]["checkpoint_id"]
    made = await copied(http, thread)
    assert made["forked_from"] == {"thread_id": thread, "checkpoint_id": newest, "at": made["created_at"]}
    assert (await client.threads.get(made["thread_id"])) == made
    assert "forked_from" not in await client.threads.get(thread)
    empty = (await client.threads.create())["thread_id"]
    assert (await copied(http, empty))["forked_from"]["checkpoint_id"] is None


async def test_a_copy_at_a_checkpoint_ends_there_and_runs_its_tasks_again(client, http):
    """The trap: taking that checkpoint's own later writes along would silently skip the node to run again."""
    thread = await ran(client)
    place = await before(client, thread, "b")
    made = await copied(http, thread, checkpoint_id=place["checkpoint_id"])
    copy = made["thread_id"]
    assert (made["status"], made["interrupts"], made["error"]) == ("interrupted", {}, None)
    assert made["values"] == {"path": ["a"], "x": 1}
    assert made["forked_from"]["checkpoint_id"] == place["checkpoint_id"]
    state = await client.threads.get_state(copy)
    assert (state["next"], state["values"]) == (["b"], {"path": ["a"], "x": 1})
    assert [task["result"] for task in state["tasks"]] == [None]
    assert len(await states(client, copy)) == 3
    await client.threads.update_state(copy, {"x": 100}, as_node="a")
    assert await client.runs.wait(copy, "chain", input=None) == {"path": ["a", "b", "c"], "x": 102}
    assert (await client.threads.get_state(thread))["values"] == {"path": ["a", "b", "c"], "x": 3}


async def test_going_on_from_a_copy_at_a_checkpoint_is_time_travel(client, http):
    thread = await ran(client)
    place = await before(client, thread, "b")
    copy = (await copied(http, thread, checkpoint_id=place["checkpoint_id"]))["thread_id"]
    assert await client.runs.wait(copy, "chain", input=None) == {"path": ["a", "b", "c"], "x": 3}
    assert len(await states(client, copy)) == 5


async def test_a_copy_at_a_question_asks_it_anew(client, http):
    thread = await ran(client, "ask")
    place = await before(client, thread, "question")
    assert place["interrupts"]
    made = await copied(http, thread, checkpoint_id=place["checkpoint_id"])
    assert (made["status"], made["interrupts"]) == ("interrupted", {})
    asked = await client.runs.wait(made["thread_id"], "ask", input=None)
    assert asked["__interrupt__"][0]["value"] == {"seen": ["a"]}


async def test_a_copy_at_the_last_checkpoint_is_idle(client, http):
    thread = await ran(client)
    newest = (await states(client, thread))[0]["checkpoint_id"]
    made = await copied(http, thread, checkpoint_id=newest)
    assert (made["status"], made["values"]) == ("idle", {"path": ["a", "b", "c"], "x": 3})


async def test_a_copy_at_a_checkpoint_takes_inner_graphs_along_up_to_there(client, http):
    thread = (await client.threads.create(graph_id="nested"))["thread_id"]
    await client.runs.wait(thread, "nested", input={"x": 0})
    place = await before(client, thread, "inner")
    copy = (await copied(http, thread, checkpoint_id=place["checkpoint_id"]))["thread_id"]
    asked = await client.runs.wait(copy, "nested", input=None)
    assert asked["__interrupt__"][0]["value"] == {"seen": ["a"]}
    assert (await client.runs.wait(copy, "nested", command={"resume": "yes"}))["path"] == ["a", "yes", "z", "last"]
    assert (await client.threads.get_state(thread))["next"] == ["inner"]


@pytest.mark.parametrize("options", [{"checkpoint_id": str(uuid.UUID(int=1))}, {"checkpoint_id": "no-such"}], ids=repr)
async def test_a_copy_at_a_checkpoint_nobody_made_is_not_found(client, http, options):
    thread = await ran(client)
    answer = await http.post(f"/threads/{thread}/copy", json=options)
    assert answer.status_code == 404
    assert options["checkpoint_id"] in answer.json()["detail"]


async def test_a_checkpoint_of_an_inner_graph_is_no_place_to_cut(client, http):
    thread = (await client.threads.create(graph_id="nested"))["thread_id"]
    await client.runs.wait(thread, "nested", input={"x": 0})
    inner = (await client.threads.get_state(thread, subgraphs=True))["tasks"][0]["state"]
    answer = await http.post(f"/threads/{thread}/copy", json={"checkpoint_id": inner["checkpoint_id"]})
    assert answer.status_code == 404


async def test_a_copy_into_a_given_id_can_be_asked_for_again(client, http):
    thread, target = await ran(client), str(uuid.uuid4())
    made = await copied(http, thread, thread_id=target.upper())
    assert made["thread_id"] == target
    assert await copied(http, thread, thread_id=target, if_exists="do_nothing") == made
    again = await http.post(f"/threads/{thread}/copy", json={"thread_id": target})
    assert again.status_code == 409
    assert again.json() == {"detail": f"Thread with ID {target} already exists"}
    await client.threads.delete(thread)
    assert await copied(http, thread, thread_id=target, if_exists="do_nothing") == made
    assert len(await states(client, target)) == 5


async def test_many_copies_into_one_id_at_once_make_one(client, http):
    thread, target = await ran(client), str(uuid.uuid4())
    answers = await asyncio.gather(
        *(http.post(f"/threads/{thread}/copy", json={"thread_id": target}) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


async def test_metadata_of_a_copy_is_merged_over_the_originals(client, http):
    thread = await ran(client)
    made = await copied(http, thread, metadata={"owner": "bea", "more": {"a": 1}, "thread_id": "x", "run_id": "y"})
    old = (await client.threads.get(thread))["metadata"]
    assert old["owner"] == "ann"
    assert made["metadata"] == old | {"owner": "bea", "more": {"a": 1}}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"checkpoint": "x"}, "checkpoint"),
        ({"checkpoint_id": 5}, "checkpoint_id"),
        ({"checkpoint_id": None}, "checkpoint_id"),
        ({"metadata": []}, "metadata"),
        ({"if_exists": "zap"}, "if_exists"),
        ({"thread_id": "zap"}, "UUID"),
    ],
    ids=repr,
)
async def test_options_that_cannot_be_are_refused_by_name(client, http, options, named):
    thread = await ran(client)
    answer = await http.post(f"/threads/{thread}/copy", json=options)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"null", b"{}"])
async def test_no_options_make_a_whole_copy(client, http, content):
    thread = await ran(client)
    answer = await http.post(f"/threads/{thread}/copy", content=content)
    assert len(await states(client, answer.json()["thread_id"])) == 5


async def test_a_missing_thread_is_a_conflict(http):
    for options in (None, {"checkpoint_id": "x"}):
        answer = await http.post(f"/threads/{uuid.uuid4()}/copy", json=options)
        assert answer.status_code == 409
        assert answer.json() == {"detail": "Conflict"}


async def test_the_time_to_live_starts_again(client, http):
    thread = (await client.threads.create(ttl={"ttl": 30, "strategy": "keep_latest"}))["thread_id"]
    first = (await client.threads.get(thread, include=["ttl"]))["ttl"]
    copy = (await copied(http, thread))["thread_id"]
    second = (await client.threads.get(copy, include=["ttl"]))["ttl"]
    assert (second["strategy"], second["ttl_minutes"]) == ("keep_latest", 30)
    assert second["expires_at"] > first["expires_at"]


async def test_the_record_of_a_failed_thread_is_carried_over(client, http):
    thread = (await client.threads.create(graph_id="chain"))["thread_id"]
    await client.runs.wait(thread, "chain", input={"x": "no number"}, raise_error=False)
    source = await client.threads.get(thread)
    assert source["status"] == "error"
    made = await copied(http, thread)
    for key in ("status", "error", "values", "interrupts", "config", "metadata"):
        assert made[key] == source[key]


# --- living apart ---


async def test_no_end_of_one_side_is_seen_by_the_other(client, http):
    """Runs, updates, patches, prune, deletion of runs and of threads, in either direction."""
    thread = await ran(client)
    (run,) = await client.runs.list(thread)
    copies = [(await copied(http, thread))["thread_id"] for _ in range(3)]
    kept = await states(client, copies[0])
    record = await client.threads.get(copies[0])

    await http.delete(f"/threads/{thread}/runs/{run['run_id']}")
    await client.threads.update_state(copies[1], {"path": ["own"]}, as_node="c")
    await client.threads.prune([copies[1]], strategy="keep_latest")
    await client.threads.update(copies[2], metadata={"owner": "zed"})
    assert await states(client, copies[0]) == kept
    assert (await states(client, copies[1]))[0]["values"]["path"] == ["a", "b", "c", "own"]
    await client.threads.delete(copies[1])
    await client.threads.prune([thread])
    assert await states(client, copies[0]) == kept
    assert await client.threads.get(copies[0]) == record
    await client.threads.create(thread_id=thread, graph_id="chain")
    assert await states(client, thread) == []
    assert await client.runs.wait(copies[0], "chain", input={"x": 1}) == {"path": list("abcabc"), "x": 4}
    assert await states(client, thread) == []


async def test_copies_that_hang_on_one_question_do_not_see_each_others_answers(client, http):
    thread = (await client.threads.create(graph_id="fork"))["thread_id"]
    await client.runs.wait(thread, "fork", input={})
    stamp = (await client.threads.get_state(thread))["tasks"]
    copies = [(await copied(http, thread))["thread_id"] for _ in range(3)]
    copies.append((await copied(http, copies[0]))["thread_id"])
    answers = [await client.runs.wait(copy, "fork", command={"resume": n}) for n, copy in enumerate(copies)]
    assert [answer["answers"] for answer in answers] == [[0], [1], [2], [3]]
    assert len({answer["stamps"][0] for answer in answers}) == 1
    assert (await client.threads.get_state(thread))["tasks"] == stamp
    assert (await client.threads.get(thread))["status"] == "interrupted"


async def test_a_checkpoint_made_after_the_copy_is_unknown_to_the_other_side(client, http):
    thread = await ran(client)
    copy = (await copied(http, thread))["thread_id"]
    for one, other in ((thread, copy), (copy, thread)):
        made = await client.threads.update_state(one, {"path": ["new"]}, as_node="c")
        state = await client.threads.get_state(other, checkpoint=made["checkpoint"])
        assert (state["values"], state["created_at"]) == ({}, None)
        assert state["checkpoint"] == {**made["checkpoint"], "thread_id": other}
        answer = await http.post(f"/threads/{other}/state", json={"values": {}, "checkpoint": made["checkpoint"]})
        assert answer.status_code == 404


async def test_the_name_of_the_thread_follows_the_copy_and_nothing_else_does(client, http):
    thread = (await client.threads.create(graph_id="chain"))["thread_id"]
    note = {"note": f"made from {thread}", "origin": thread}
    await client.runs.wait(thread, "chain", input={"x": 0}, metadata=note)
    copy = (await copied(http, thread))["thread_id"]
    found = await states(client, copy)
    assert {state["metadata"]["thread_id"] for state in found} == {copy}
    assert {state["metadata"]["origin"] for state in found} == {thread}
    assert {state["metadata"]["note"] for state in found} == {f"made from {thread}"}
    assert await states(client, copy, metadata={"thread_id": copy}) == found
    assert await states(client, copy, metadata={"thread_id": thread}) == []
    clone = await client.threads.update_state(copy, None, as_node="__copy__")
    named = await states(client, copy, metadata={"thread_id": copy})
    assert [state["checkpoint_id"] for state in named] == [state["checkpoint_id"] for state in found]
    newest = (await states(client, copy))[0]
    assert newest["checkpoint_id"] == clone["checkpoint_id"]
    assert set(newest["metadata"]) == {"source", "step", "parents"}


async def test_delta_channels_come_along_whole(client, http):
    thread = await ran(client, "delta")
    await client.runs.wait(thread, "delta", input={"path": ["in"]})
    place = await before(client, thread, "b")
    whole = (await copied(http, thread))["thread_id"]
    part = await copied(http, thread, checkpoint_id=place["checkpoint_id"])
    assert part["values"]["path"] == ["a", "b", "c", "in", "a"]
    await client.threads.delete(thread)
    assert (await client.threads.get_state(whole))["values"]["path"] == ["a", "b", "c", "in", "a", "b", "c"]
    done = await client.runs.wait(part["thread_id"], "delta", input=None)
    assert done["path"] == ["a", "b", "c", "in", "a", "b", "c"]
    await client.threads.update_state(whole, {"path": ["more"]}, as_node="c")
    await client.threads.prune([whole], strategy="keep_latest")
    assert (await client.threads.get_state(whole))["values"]["path"][-2:] == ["c", "more"]
    assert len((await client.threads.get_state(whole))["values"]["path"]) == 8


async def test_a_copy_taken_while_updates_go_on_is_one_exact_moment(client, http):
    thread = (await client.threads.create(graph_id="chain"))["thread_id"]
    await client.threads.update_state(thread, {"path": ["0"]}, as_node="c")
    copies = []

    async def write():
        for n in range(1, 15):
            await client.threads.update_state(thread, {"path": [str(n)]}, as_node="c")

    async def take():
        for _ in range(10):
            copies.append(await copied(http, thread))

    await asyncio.gather(write(), take())
    whole = [state["checkpoint_id"] for state in await states(client, thread)]
    for copy in copies:
        found = await states(client, copy["thread_id"])
        taken = [state["checkpoint_id"] for state in found]
        assert taken == whole[-len(taken) :]
        assert copy["values"] == found[0]["values"]
        assert copy["forked_from"]["checkpoint_id"] == taken[0]


async def test_the_copy_of_a_busy_thread_says_what_its_newest_state_says(client, http):
    thread = (await client.threads.create(graph_id="loop"))["thread_id"]
    run = await client.runs.create(thread, "loop", input={"until": 1000, "n": 0}, config={"recursion_limit": 2000})
    try:
        await until_counting(client, thread)
        made = await copied(http, thread)
        assert made["status"] == "interrupted"
        assert (await client.threads.get_state(made["thread_id"]))["next"] == ["tick"]
        assert await client.runs.list(made["thread_id"]) == []
        assert "forked_from" in made
    finally:
        await client.runs.cancel(thread, run["run_id"], wait=True, action="rollback")
    kept = await client.threads.get_state(made["thread_id"])
    assert kept["values"]["n"] >= 1
    assert (await states(client, thread)) == []


async def test_a_waiting_run_alone_makes_no_interrupted_copy(client, http):
    thread = (await client.threads.create(graph_id="chain"))["thread_id"]
    run = await client.runs.create(thread, "chain", input={"x": 0}, after_seconds=3600)
    assert (await client.threads.get(thread))["status"] == "busy"
    assert (await copied(http, thread))["status"] == "idle"
    await client.runs.cancel(thread, run["run_id"])
