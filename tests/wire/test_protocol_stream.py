"""The v2 event stream over plain HTTP: what is told, to whom, in which order, and again after a restart."""

import asyncio
import contextlib
import itertools
import uuid
from pathlib import Path

import httpx
import pytest
import websockets

from tests.server import running
from tests.wire.protocol_client import PATIENCE, command, data, ended, events, phase_of, run_to_end, start

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "protocol"
SAY = {"messages": [{"role": "user", "content": "hi you"}]}


@pytest.fixture(scope="module")
def url(protocol_url):
    return protocol_url


def shape(event):
    """Method, and the names of the namespace's segments."""
    return event["method"], [segment.partition(":")[0] for segment in event["params"]["namespace"]]


# --- what is told ---


async def test_numbers_have_no_gap_over_all_channels_and_runs(http):
    thread, first = await run_to_end(http, "nested", {})
    _, second = await run_to_end(http, "steps", {"n": 1}, thread=thread)
    seen = first + second
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert len({event["event_id"] for event in seen}) == len(seen)


async def test_all_data_comes_before_the_end_of_the_run(http):
    for graph, phase in (("asking_two", "interrupted"), ("failing", "failed"), ("nested", "completed")):
        thread, seen = await run_to_end(http, graph, {})
        assert phase_of(seen[-1]) == phase
        async with events(http, thread) as stream:
            assert await stream.until(ended) == seen


async def test_a_subgraph_starts_before_anything_else_of_it_is_told(http):
    _, seen = await run_to_end(http, "nested", {})
    inside = [event for event in seen if event["params"]["namespace"]]
    assert inside[0]["params"]["data"]["event"] == "started"
    assert inside[-1]["params"]["data"]["event"] == "completed"
    started = inside[0]["params"]["data"]
    assert started["namespace"] == inside[0]["params"]["namespace"]
    assert started["namespace"] == [f"child:{started['trigger_call_id']}"]


async def test_a_checkpoint_comes_just_before_its_values(http):
    thread, seen = await run_to_end(http, "steps", {"n": 1})
    values = [(before, event) for before, event in itertools.pairwise(seen) if event["method"] == "values"]
    assert values
    for before, event in values:
        assert before["method"] == "checkpoints"
        place = {"checkpoint_id": before["params"]["data"]["id"]}
        state = (await http.post(f"/threads/{thread}/state/checkpoint", json={"checkpoint": place})).json()
        assert state["values"] == event["params"]["data"]
    chain = data(seen, "checkpoints")
    assert [one.get("previous_id") for one in chain] == [None, *(one["id"] for one in chain[:-1])]
    assert [one["source"] for one in chain] == ["input", "loop", "loop"]
    assert [one["superstep"] for one in chain] == [-1, 0, 1]


async def test_checkpoints_name_the_one_that_their_turn_began_at(http):
    """`@langchain/react` 1.1 forks there to edit or repeat a message, and takes values with a lower `step` for old ones."""

    async def turn(graph, input_, source, **config):
        _, seen = await run_to_end(http, graph, input_, thread=thread, config={"configurable": config})
        told = data(seen, "checkpoints")
        assert not any("step" in one for one in told)
        first, *others = told if source == "input" else (None, *told)
        assert told[0]["source"] == source
        (began,) = {one["parent_id"] for one in others}
        assert first is None or first["id"] == began
        return began, told[-1]["id"]

    thread, _ = await run_to_end(http, "asking", {"n": 1})
    _, seen = await run_to_end(http, "asking", "yes", thread=thread)  # the answer
    asked = data(seen, "checkpoints")
    state = (await http.get(f"/threads/{thread}/state/{asked[0]['parent_id']}")).json()
    assert (state["metadata"]["source"], {one["parent_id"] for one in asked}) == ("input", {asked[0]["parent_id"]})

    began, end = await turn("steps", {"n": 2}, "input")
    assert (await turn("steps", None, "fork", checkpoint_id=began))[0] == began
    again, _ = await turn("steps", {"n": 3}, "input", checkpoint_id=began)
    assert again != began
    last, _ = await turn("steps", {"n": 4}, "input", checkpoint_id=end)
    assert last not in (began, again)


async def test_updates_name_their_node(http):
    _, seen = await run_to_end(http, "steps", {"n": 4})
    (update,) = [event for event in seen if event["method"] == "updates"]
    assert update["params"]["node"] == "count"
    assert update["params"]["data"] == {"node": "count", "values": {"steps": ["count 4"]}}


async def test_tasks_tell_input_and_result_but_no_configuration(http):
    thread = str(uuid.uuid4())
    await start(http, thread, "steps", {"n": 4}, config={"configurable": {"api_key": "secret"}})
    async with events(http, thread) as stream:
        begun, done = data(await stream.until(ended), "tasks")
    assert begun["name"] == done["name"] == "count" and begun["id"] == done["id"]
    assert begun["input"]["n"] == 4 and done["result"] == {"steps": ["count 4"]} and done["error"] is None
    assert "secret" not in str(stream.seen)


async def test_tools_are_told_from_start_to_end(http):
    _, seen = await run_to_end(http, "tools", SAY)
    started, finished = data(seen, "tools")
    assert started == {
        "event": "tool-started",
        "tool_call_id": "call_add",
        "tool_name": "add",
        "input": {"a": 2, "b": 3},
    }
    assert (finished["event"], finished["tool_call_id"]) == ("tool-finished", "call_add")
    assert finished["output"]["content"] == "5"


async def test_messages_in_values_have_no_fields_that_say_nothing(http):
    _, seen = await run_to_end(http, "chat", SAY)
    said, answered = data(seen, "values")[-1]["messages"]
    assert said == {"type": "human", "content": "hi you", "id": said["id"]}
    assert set(answered) == {"type", "content", "id", "response_metadata"}


async def test_only_messages_of_models_are_told(http):
    _, seen = await run_to_end(http, "tools", SAY)
    assert data(seen, "messages") == []


async def test_a_model_that_the_node_reads_itself_is_told_when_it_is_done(http):
    _, seen = await run_to_end(http, "own_stream", SAY)
    told = data(seen, "messages")
    assert [one["event"] for one in told] == [
        "message-start",
        "content-block-start",
        "content-block-delta",
        "content-block-finish",
        "message-finish",
    ]
    assert told[2]["delta"]["text"] == "echo: hi you"
    assert told[0]["id"] == data(seen, "values")[-1]["messages"][-1]["id"]


async def test_every_event_of_a_message_names_its_node_and_a_broken_one_ends_with_an_error(http):
    _, seen = await run_to_end(http, "breaking_off", SAY)
    told = [event for event in seen if event["method"] == "messages"]
    assert {event["params"]["node"] for event in told} == {"chat"}
    assert told[-1]["params"]["data"] == {"event": "error", "message": "the model broke"}


async def test_a_failure_in_a_subgraph_is_told_there_and_at_the_root(http):
    _, seen = await run_to_end(http, "failing", {})
    failed = [event["params"] for event in seen if event["params"]["data"].get("event") == "failed"]
    assert [len(params["namespace"]) for params in failed] == [1, 0]
    assert {params["data"]["error"] for params in failed} == {"planned failure"}


async def test_a_text_that_was_not_meant_to_be_read_is_told_nowhere(http):
    _, seen = await run_to_end(http, "failing_secretly", {})
    assert data(seen, "lifecycle")[-1]["error"] == "An internal error occurred"
    assert "1234" not in str(seen)


async def test_a_question_is_asked_once_where_it_arose(http):
    _, seen = await run_to_end(http, "nested_ask", {})
    (asked,) = [event for event in seen if event["method"] == "input.requested"]
    assert shape(asked) == ("input.requested", ["middle", "child"])
    assert asked["params"]["data"]["payload"] == asked["params"]["data"]["value"] == {"question": "go on?"}
    ends = [event["params"]["data"]["event"] for event in seen if event["method"] == "lifecycle"][-3:]
    assert ends == ["interrupted"] * 3


async def test_a_cancelled_run_ends_interrupted(http):
    thread = str(uuid.uuid4())
    run = await start(http, thread, "slow", {"n": 100})
    async with events(http, thread) as stream:
        await stream.until(lambda event: event["method"] == "updates")
        await http.post(f"/threads/{thread}/runs/{run}/cancel")
        assert phase_of((await stream.until(ended))[-1]) == "interrupted"


async def test_transformers_of_the_file_add_change_and_hold_back(http):
    thread, seen = await run_to_end(http, "transformed", {"secret": "s"})
    assert {one["secret"] for one in data(seen, "values")} == {"***"}
    assert data(seen, "updates") == []
    assert data(seen, "custom") == [{"name": "progress", "payload": {"updates": number}} for number in (1, 2)]
    assert (await http.get(f"/threads/{thread}/state")).json()["values"]["secret"] == "s"


async def test_a_classic_reader_of_the_thread_is_told_of_a_v2_run(http, url):
    thread = (await http.post("/threads", json={})).json()["thread_id"]
    async with http.stream("GET", f"/threads/{thread}/stream", timeout=None) as response:
        await start(http, thread, "steps", {"n": 1})
        names = []
        async with asyncio.timeout(PATIENCE):
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                if "run_done" in line:
                    break
    assert names[0] == names[-1] == "metadata"
    assert {"values", "updates"} <= set(names) and not {"lifecycle", "input.requested"} & set(names)


async def test_a_classic_run_is_not_told_on_channels(http):
    thread, _ = await run_to_end(http, "steps", {"n": 1})
    body = {"assistant_id": "steps", "input": {"n": 2}, "stream_resumable": True}
    await http.post(f"/threads/{thread}/runs/wait", json=body)
    _, seen = await run_to_end(http, "steps", {"n": 3}, thread=thread)
    assert data(seen, "values")[-1]["steps"] == ["count 1", "count 2", "count 3"]
    async with events(http, thread, ["lifecycle"]) as stream:
        phases = []
        await stream.until(lambda event: phases.append(phase_of(event)) or len(phases) == 4)
    assert phases == ["running", "completed"] * 2


# --- to whom ---


async def filtered(http, thread, count, **more):
    """What a filter lets pass of a run that has ended: so many events, and whatever should not come after them."""
    async with events(http, thread, **more) as stream:
        if count:
            await stream.until(lambda event: len(stream.seen) == count)
        with contextlib.suppress(TimeoutError):
            await stream.until(lambda event: False, timeout=0.4)
    return stream.seen


@pytest.mark.parametrize(
    ("namespaces", "depth", "names"),
    [
        ([["middle"]], None, [["middle"], ["middle", "child"]]),
        ([["middle"]], 0, [["middle"]]),
        ([["middle", "child"]], None, [["middle", "child"]]),
        ([["child"]], None, []),
        ([["middle:no-such-task"]], None, []),
        ([[]], 0, [[]]),
        ([[]], 1, [[], ["middle"]]),
        ([[]], None, [[], ["middle"], ["middle", "child"]]),
        ([["middle", "child"], []], 0, [[], ["middle", "child"]]),
        ([], 0, [[], ["middle"], ["middle", "child"]]),
        (None, 0, [[], ["middle"], ["middle", "child"]]),
        ("middle", None, [[], ["middle"], ["middle", "child"]]),
        ([["middle", 5]], None, [[], ["middle"], ["middle", "child"]]),
        ([["middle"]], -1, [["middle"], ["middle", "child"]]),
        ([["middle"]], True, [["middle"], ["middle", "child"]]),
    ],
)
async def test_namespaces_are_prefixes_and_depth_counts_below_them(http, namespaces, depth, names):
    thread, all_seen = await run_to_end(http, "nested_ask", {})
    wanted = [event for event in all_seen if shape(event)[1] in names]
    more = {key: value for key, value in (("namespaces", namespaces), ("depth", depth)) if value is not None}
    assert await filtered(http, thread, len(wanted), **more) == wanted
    assert {tuple(shape(event)[1]) for event in wanted} == set(map(tuple, names))


async def test_an_exact_task_is_a_prefix_too(http):
    thread, all_seen = await run_to_end(http, "nested", {})
    inside = [event for event in all_seen if event["params"]["namespace"]]
    assert await filtered(http, thread, len(inside), namespaces=[inside[0]["params"]["namespace"]]) == inside


async def test_custom_events_are_chosen_by_name(http):
    thread, all_seen = await run_to_end(http, "nested", {})
    custom = [event for event in all_seen if event["method"] == "custom"]
    updates = [event for event in all_seen if event["method"] == "updates"]
    for channels, wanted in (
        (["custom"], custom),
        (["custom:note"], custom[:1]),
        (["custom:note", "custom"], custom),
        (["custom:other"], []),
        (["custom:other", "updates"], updates),
    ):
        assert await filtered(http, thread, len(wanted), channels=channels) == wanted
    assert (len(custom), len(updates)) == (2, 3)


@pytest.mark.parametrize("since", [-1, "3", 2.5, True, None, [3]])
async def test_a_since_that_is_no_number_is_as_if_left_out(http, since):
    thread, seen = await run_to_end(http, "steps", {"n": 1})
    async with events(http, thread, since=since) as stream:
        assert await stream.until(ended) == seen


async def test_an_id_that_is_none_is_refused(http):
    response = await http.post("/threads/no-uuid/stream/events", json={"channels": ["values"]})
    assert response.status_code == 422
    response = await http.post("/threads/no-uuid/commands", json={"id": 1, "method": "run.start"})
    assert response.status_code == 422


async def test_a_plain_get_is_not_allowed(http):
    assert (await http.get(f"/threads/{uuid.uuid4()}/stream/events")).status_code == 405


async def test_the_stream_is_not_stored_by_anybody_between(http):
    async with http.stream("POST", f"/threads/{uuid.uuid4()}/stream/events", json={"channels": ["values"]}) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"


# --- again ---


async def test_early_and_late_readers_are_told_the_same(http):
    thread = str(uuid.uuid4())
    async with events(http, thread) as early:
        await start(http, thread, "slow", {"n": 4})
        await early.until(lambda event: event["method"] == "updates")
        async with events(http, thread) as middle:
            await middle.until(ended)
        await early.until(ended)
    async with events(http, thread) as late:
        await late.until(ended)
    assert early.seen == middle.seen == late.seen


async def test_a_deleted_thread_has_no_events(http):
    thread, _ = await run_to_end(http, "steps", {"n": 1})
    await http.delete(f"/threads/{thread}")
    _, seen = await run_to_end(http, "steps", {"n": 2}, thread=thread)
    assert seen[0]["seq"] == 1


async def test_numbers_of_a_deleted_run_are_not_given_again(http):
    thread, first = await run_to_end(http, "steps", {"n": 1})
    run = (await http.get(f"/threads/{thread}/runs")).json()[0]["run_id"]
    assert (await http.delete(f"/threads/{thread}/runs/{run}")).is_success
    _, second = await run_to_end(http, "steps", {"n": 2}, thread=thread)
    assert second[0]["seq"] == first[-1]["seq"] + 1
    async with events(http, thread, since=1) as stream:
        await stream.until(ended)
    assert [notice["error"] for notice in stream.notices] == ["resume_gap"]
    assert stream.seen == second


async def test_the_log_is_as_long_as_the_settings_say(tmp_path):
    with running(APP, tmp_path / "data", env={"LSD_PROTOCOL_V2_BUFFER_SIZE": "5"}) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
            thread, _ = await run_to_end(http, "slow", {"n": 5})
            async with events(http, thread, since=1) as stream:
                await stream.until(ended)
    assert [notice["error"] for notice in stream.notices] == ["resume_gap"]
    assert len(stream.seen) < 20


async def test_deleting_a_thread_ends_all_that_follows_it(http, url):
    """Also by a prune, and while a run is under way."""
    for way in ("delete", "prune"):
        thread = (await http.post("/threads", json={})).json()["thread_id"]
        await start(http, thread, "slow", {"n": 6})
        address = f"{url.replace('http', 'ws')}/threads/{thread}/stream/events"
        async with (
            http.stream("GET", f"/threads/{thread}/stream", timeout=PATIENCE) as plain,
            events(http, thread) as channels,
            websockets.connect(address) as socket,
            asyncio.timeout(PATIENCE),
        ):
            await channels.until(lambda event: data([event], "updates"))
            if way == "delete":
                assert (await http.delete(f"/threads/{thread}")).is_success
            else:
                assert (await http.post("/threads/prune", json={"thread_ids": [thread]})).is_success
            began = asyncio.get_running_loop().time()
            await plain.aread()
            with pytest.raises(AssertionError, match="the stream ended"):
                await channels.until(lambda event: False)
            assert "cannot be read any more" in await socket.recv()
            await socket.wait_closed()
            assert asyncio.get_running_loop().time() - began < 10


async def test_events_outlive_a_restart_and_a_kill(tmp_path):
    thread = str(uuid.uuid4())
    with running(APP, tmp_path / "data") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
            _, first = await run_to_end(http, "asking", {"n": 1}, thread=thread)
            server.stop()
            server.start()
            async with events(http, thread) as stream:
                assert await stream.until(ended) == first
            asked = data(first, "input.requested")[0]["interrupt_id"]
            params = {"interrupt_id": asked, "response": "yes"}
            assert (await command(http, thread, "input.respond", params))["type"] == "success"
            async with events(http, thread, since=first[-1]["seq"]) as stream:
                second = list(await stream.until(ended))
            assert phase_of(second[-1]) == "completed"

            await start(http, thread, "slow", {"n": 6})
            async with events(http, thread, since=second[-1]["seq"]) as stream:
                before = list(await stream.until(lambda event: data([event], "updates")))
            server.kill()
            server.start()
            async with events(http, thread, since=before[-1]["seq"]) as stream:
                after = list(await stream.until(ended))
            assert phase_of(after[-1]) == "completed"
            async with events(http, thread) as stream:
                last = after[-1]["seq"]
                whole = list(await stream.until(lambda event: event["seq"] == last))
            assert whole == first + second + before + after
            assert [event["seq"] for event in whole] == list(range(1, last + 1))
            assert data(after, "values")[-1]["steps"].count("tick") >= 4
