"""Fields of runs, of their commands and of what they leave in the thread, beyond what the conformance suite shows."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "threads"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


async def new(client, **more):
    return (await client.threads.create(**more))["thread_id"]


async def wait(http, thread, graph="chain", **body):
    answer = await http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": graph, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def events(http, thread, graph="chain", **body):
    """Name and data of each event of a run."""
    answer = await http.post(f"/threads/{thread}/runs/stream", json={"assistant_id": graph, **body})
    assert answer.status_code == 200, answer.text
    frames = [frame.split("\r\n") for frame in answer.text.split("\r\n\r\n") if frame.startswith("event: ")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data, *_ in frames]


# --- what a run says is found in its checkpoints and its thread ---


async def test_metadata_of_every_kind_reach_the_checkpoints(client, http):
    thread = await new(client, metadata={"of_thread": ["t"]})
    said = {"list": [1, {"a": "b"}], "object": {"deep": {"er": 1}}, "none": None, "text": "x"}
    await wait(
        http, thread, input={}, metadata=said, config={"metadata": {"also": [2]}, "configurable": {"shape": {"s": 1}}}
    )
    expected = {**said, "also": [2], "shape": {"s": 1}, "of_thread": ["t"]}
    for state in await client.threads.get_history(thread, limit=10):
        assert state["metadata"].items() >= expected.items()
    for wanted in ({"list": [{"a": "b"}]}, {"object": {"deep": {}}}, {"shape": {"s": 1}}):
        assert len(await client.threads.get_history(thread, limit=10, metadata=wanted)) == 5, wanted
    assert await client.threads.get_history(thread, metadata={"list": [3]}) == []


async def test_metadata_of_a_run_cannot_claim_ids(client, http):
    thread = await new(client)
    claims = {"thread_id": "another", "run_id": "another"}
    run = await client.runs.create(thread, "chain", input={}, metadata=claims, config={"metadata": claims})
    await client.runs.join(thread, run["run_id"])
    run = await client.runs.get(thread, run["run_id"])
    assert run["metadata"].keys().isdisjoint(claims)
    state = await client.threads.get_state(thread)
    assert (state["metadata"]["thread_id"], state["metadata"]["run_id"]) == (thread, run["run_id"])


async def test_a_thread_made_for_a_run_has_the_metadata_of_its_request(client, http):
    thread = str(uuid.uuid4())
    said = {"metadata": {"a": 1, "thread_id": "x", "run_id": "y"}, "config": {"metadata": {"b": 2}}}
    await wait(http, thread, input={}, if_not_exists="create", **said)
    metadata = (await client.threads.get(thread))["metadata"]
    assert metadata.pop("assistant_id")
    assert metadata == {"a": 1, "graph_id": "chain"}, "and nothing of what its config says"


async def test_a_thread_keeps_all_of_its_runs_config_but_what_is_configurable(client, http):
    thread = await new(client)
    said = {"tags": ["x"], "recursion_limit": 30, "metadata": {"a": 1}, "max_concurrency": 3, "run_name": "mine"}
    await wait(http, thread, input={}, config={**said, "configurable": {"key": "secret"}})
    assert (await client.threads.get(thread))["config"] == {**said, "configurable": {}}
    await wait(http, thread, input={}, config={"max_concurrency": 2})
    assert (await client.threads.get(thread))["config"] == {**said, "max_concurrency": 2, "configurable": {}}


async def test_a_state_update_tells_where_it_was_written(client, http):
    thread = await new(client)
    await wait(http, thread, input={})
    at = (await client.threads.get_history(thread))[1]["checkpoint"]
    await client.threads.update_state(thread, {"path": ["w"]}, checkpoint=at)
    metadata = (await client.threads.get_state(thread))["metadata"]
    assert metadata["checkpoint_id"] == at["checkpoint_id"]
    await client.threads.update_state(thread, {"path": ["v"]})
    assert "checkpoint_id" not in (await client.threads.get_state(thread))["metadata"]


# --- forms of fields ---


@pytest.mark.parametrize("nothing", [None, ""])
async def test_no_checkpoint_id_is_the_latest(client, http, nothing):
    thread = await new(client)
    await wait(http, thread, input={"x": 1})
    assert (await wait(http, thread, input={}, checkpoint_id=nothing))["path"] == [*"abcabc"]


@pytest.mark.parametrize("before", [{"checkpoint_id": None}, {"configurable": {"checkpoint_id": None}}], ids=str)
async def test_before_no_checkpoint_is_no_bound(client, http, before):
    thread = await new(client)
    await wait(http, thread, input={})
    answer = await http.post(f"/threads/{thread}/history", json={"limit": 10, "before": before})
    assert len(answer.json()) == 5


@pytest.mark.parametrize("path", ["/state/checkpoint", "/state", "/history", "/runs/wait"])
@pytest.mark.parametrize("map_", ["x", [], 5])
async def test_a_checkpoint_map_is_an_object(client, http, path, map_):
    thread = await new(client)
    await wait(http, thread, input={})
    body = {"assistant_id": "chain", "values": {}, "checkpoint": {"checkpoint_map": map_}}
    answer = await http.post(f"/threads/{thread}{path}", json=body)
    assert answer.status_code == 422
    assert "checkpoint_map" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/state/checkpoint", "/state", "/history", "/runs/wait"])
async def test_a_checkpoint_map_may_be_null(client, http, path):
    # The SDKs' types have it so, and the one of JavaScript makes callers write it.
    thread = await new(client)
    await wait(http, thread, input={})
    place = {**(await client.threads.get_state(thread))["checkpoint"], "checkpoint_map": None}
    body = {"assistant_id": "chain", "values": {}, "checkpoint": place}
    assert (await http.post(f"/threads/{thread}{path}", json=body)).status_code == 200


@pytest.mark.parametrize("path", ["/threads/{}/runs", "/threads/{}/runs/wait", "/runs", "/runs/stream"])
@pytest.mark.parametrize("seconds", [1e300, 2.8e16, 3.2e9])
async def test_a_start_beyond_a_century_is_refused(client, http, path, seconds):
    thread = await new(client)
    answer = await http.post(path.format(thread), json={"assistant_id": "chain", "input": {}, "after_seconds": seconds})
    assert answer.status_code == 422
    assert "after_seconds" in answer.json()["detail"]
    assert await client.runs.list(thread) == []


async def test_a_start_in_the_past_is_now(client, http):
    thread = await new(client)
    assert (await wait(http, thread, input={}, after_seconds=-1e300))["path"] == [*"abc"]


async def test_values_of_a_superstep_are_no_list(client, http):
    steps = [{"updates": [{"values": [[{"path": ["a"]}, "a"]], "as_node": "__copy__"}]}]
    answer = await http.post("/threads", json={"metadata": {"graph_id": "chain"}, "supersteps": steps})
    assert answer.status_code == 422
    assert "supersteps[0].updates[0].values" in answer.json()["detail"]


# --- commands ---


@pytest.mark.parametrize("path", ["", "/wait", "/stream"])
async def test_an_answer_needs_a_thread(http, path):
    answer = await http.post(f"/runs{path}", json={"assistant_id": "ask", "command": {"resume": "yes"}})
    assert (answer.status_code, answer.json()) == (400, {"detail": "You must provide a thread_id when resuming."})
    batch = [{"assistant_id": "chain", "input": {}}, {"assistant_id": "ask", "command": {"resume": 0}}]
    assert (await http.post("/runs/batch", json=batch)).status_code == 400


async def test_a_whole_command_answers_only_when_it_asks_for_nothing_else(client, http):
    """As RemoteGraph sends them: every part of a Command, null where nothing was said."""
    thread = await new(client)
    await wait(http, thread, "ask", input={})
    whole = {"graph": None, "update": None, "resume": None, "goto": []}
    (question,) = (await client.threads.get_state(thread))["interrupts"]
    went = await wait(http, thread, "ask", command={**whole, "goto": "z"})
    assert "z" in went["path"]
    (still,) = (await client.threads.get_state(thread))["interrupts"]
    assert still == question
    assert None in (await wait(http, thread, "ask", command=whole))["path"]


async def test_a_whole_command_goes_to_a_node_of_a_thread_that_never_ran(client, http):
    whole = {"graph": None, "update": None, "resume": None, "goto": ["__end__"]}
    assert (await wait(http, await new(client), command=whole))["path"] == ["a", "b", "c"], "the entry runs beside it"


async def test_nowhere_to_go_is_nothing_to_do(client, http):
    thread = await new(client)
    await wait(http, thread, input={"x": 4})
    kept = await client.threads.get_state(thread)
    assert (await wait(http, thread, command={"goto": None})) == kept["values"]
    assert (await client.threads.get_state(thread)) == kept


@pytest.mark.parametrize("update", [{"path": ["u"]}, [["path", ["u"]]]], ids=str)
async def test_an_update_alone_is_applied_once_to_a_thread_that_never_ran(client, http, update):
    thread = await new(client)
    assert (await wait(http, thread, command={"update": update}))["path"] == ["u", "a", "b", "c"]


# --- what is told ---


@pytest.mark.parametrize("modes", [["values"], ["updates"]], ids=str)
async def test_a_run_that_stops_at_once_tells_the_values(client, http, modes):
    thread = await new(client)
    assert await wait(http, thread, input={}, interrupt_before="*", stream_mode=modes) == {"path": []}


async def test_a_graphs_own_stream_is_not_told_twice_as_events(client, http):
    told = await events(http, await new(client), input={}, stream_mode=["values", "events"])
    streamed = [data["name"] for name, data in told if name == "events" and data["event"] == "on_chain_stream"]
    assert streamed == ["a", "b", "c"]
    assert [data["path"] for name, data in told if name == "values"][-1] == ["a", "b", "c"]


async def test_debug_names_inner_graphs_as_states_do(client, http):
    thread = await new(client)
    told = await events(http, thread, "nested", input={}, stream_mode=["debug"], stream_subgraphs=True)
    checkpoints = [(name, data["payload"]) for name, data in told if data.get("type") == "checkpoint"]
    (outer,) = [payload for name, payload in checkpoints if name == "debug" and payload["next"] == ["inner"]]
    (task,) = outer["tasks"]
    inner = f"inner:{task['id']}"
    assert task["checkpoint"] == {"thread_id": thread, "checkpoint_ns": inner}
    assert "state" not in task
    payloads = [payload for name, payload in checkpoints if name == f"debug|{inner}"]
    root = outer["checkpoint"]["checkpoint_id"]
    for payload in payloads:
        place = payload["checkpoint"]
        assert place["checkpoint_map"] == {"": root, inner: place["checkpoint_id"]}
    assert payloads[1]["parent_checkpoint"]["checkpoint_map"][inner] == payloads[0]["checkpoint"]["checkpoint_id"]


@pytest.mark.parametrize("mode", ["tasks", "debug", "updates", "values", "events", "checkpoints"])
async def test_no_mode_tells_what_an_exception_was_not_meant_to_say(client, http, mode):
    thread = await new(client)
    told = await events(http, thread, "secretive", input={}, stream_mode=[mode])
    assert "hunter2" not in json.dumps(told)
    assert told[-1] == ("error", {"error": "OwnError", "message": "An internal error occurred"})
    if mode == "tasks":
        assert told[-2][1]["error"] == told[-1][1]


async def test_a_state_written_by_hand_is_told_with_its_thread(client, http):
    thread = await new(client, graph_id="chain")
    async with http.stream("GET", f"/threads/{thread}/stream", params={"stream_modes": "state_update"}) as answer:
        await client.threads.update_state(thread, {"path": ["w"]}, as_node="a")
        async with asyncio.timeout(60):
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    break
    told = json.loads(line.removeprefix("data: "))
    assert told == {"thread_id": thread, "state": await client.threads.get_state(thread)}


@pytest.mark.parametrize("word", ["complete", "continue"])
async def test_words_of_the_javascript_sdk_for_on_completion_pass_where_they_mean_nothing(client, http, word):
    assert (await wait(http, await new(client), input={}, on_completion=word))["path"] == ["a", "b", "c"]
    refused = await http.post("/runs/wait", json={"assistant_id": "chain", "input": {}, "on_completion": word})
    assert refused.status_code == 422
    assert "on_completion" in refused.json()["detail"]


async def test_events_of_what_a_node_calls_name_the_nodes_namespace(client, http):
    told = await events(http, await new(client), "nested", input={}, stream_mode=["events"])
    places = {data["name"]: data["metadata"].get("checkpoint_ns") for name, data in told if name == "events"}
    assert places["nested"] is None
    assert places["question"].startswith("inner:")
