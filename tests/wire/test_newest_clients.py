"""What the newest clients read: ends of streams, streams of some namespaces, joins at a checkpoint, lives of subgraphs, ids of
v2 events, answered and refused questions, ends of cancelled runs."""

import asyncio
import uuid

import pytest
from langgraph_sdk import get_client

from tests.wire.protocol_client import PATIENCE, command, data, ended, events, phase_of, run_to_end, start

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def url(protocol_url):
    return protocol_url


async def streamed(client, assistant, input=None, *, thread=None, namespaces=None, **more):
    """Name and data of each event of a new run."""
    params = None if namespaces is None else [("namespace", one) for one in namespaces]
    stream = client.runs.stream(thread, assistant, input=input or {}, params=params, **more)
    return [(part.event, part.data) async for part in stream]


def names(told):
    return [name for name, _ in told]


def heads(told):
    """The names of events, without the ids of tasks."""
    return ["|".join(segment.partition(":")[0] for segment in name.split("|")) for name, _ in told]


# --- the end of a stream ---


async def test_the_last_event_is_the_last_value(client):
    told = await streamed(client, "steps", {"n": 1}, stream_mode="values")
    assert names(told) == ["metadata", "values", "values"]
    assert told[-1][1]["steps"] == ["count 1"]


async def test_the_last_event_of_a_run_that_failed_is_its_error(client):
    told = await streamed(client, "failing", stream_mode="values")
    assert told[-1] == ("error", {"error": "ValueError", "message": "planned failure"})
    assert names(told).count("error") == 1


# --- namespaces ---


@pytest.mark.parametrize(
    ("namespaces", "seen"),
    [
        ([""], ["updates", "updates"]),
        (["child"], ["updates|child"]),
        (["", "child"], ["updates", "updates|child", "updates"]),
        (["elsewhere"], []),
    ],
)
async def test_a_stream_keeps_to_the_namespaces_that_were_asked_for(client, namespaces, seen):
    told = await streamed(client, "nested", namespaces=namespaces, stream_mode="updates", stream_subgraphs=True)
    assert heads(told) == ["metadata", *seen]


async def test_a_namespace_is_told_without_those_below_it(client):
    told = await streamed(client, "nested_ask", namespaces=["middle"], stream_mode="values", stream_subgraphs=True)
    assert set(heads(told)) == {"metadata", "values|middle"}


async def test_a_join_keeps_to_a_namespace_by_its_task(client):
    thread = (await client.threads.create())["thread_id"]
    told = await streamed(
        client, "nested", thread=thread, stream_mode=["updates", "custom"], stream_subgraphs=True, stream_resumable=True
    )
    (inner,) = {name.partition("|")[2] for name in names(told) if "|" in name}
    (run,) = await client.runs.list(thread)
    for namespace, of_inner in ((inner, True), ("", False)):
        joined = client.runs.join_stream(thread, run["run_id"], last_event_id="-1", params={"namespace": namespace})
        wanted = [event for event in told if ("|" in event[0]) is of_inner or event[0] == "metadata"]
        assert [(part.event, part.data) async for part in joined] == wanted


async def test_messages_and_events_belong_to_a_namespace_though_their_names_do_not_say_it(client):
    for mode in ("messages", "events"):
        told = await streamed(
            client,
            "tools",
            {"messages": [("user", "hi")]},
            namespaces=["tools"],
            stream_mode=mode,
            stream_subgraphs=True,
        )
        assert names(told) == ["metadata"]


async def test_more_namespaces_than_can_be_told_apart_cheaply_are_refused(client, http):
    thread = (await client.threads.create())["thread_id"]
    many = [("namespace", str(number)) for number in range(101)]
    for method, path in (("POST", "stream"), ("GET", f"{uuid.uuid4()}/stream")):
        body = {"json": {"assistant_id": "steps", "input": {}}} if method == "POST" else {}
        answer = await http.request(method, f"/threads/{thread}/runs/{path}", params=many, **body)
        assert (answer.status_code, answer.json()["detail"][:10]) == (422, "namespace:")
    assert await client.runs.list(thread) == []


async def test_info_tells_that_namespaces_are_known(http):
    assert (await http.get("/info")).json()["flags"]["stream_namespaces"] is True


# --- joining at a checkpoint ---


async def test_a_join_tells_what_came_after_a_checkpoint(client):
    thread = (await client.threads.create())["thread_id"]
    told = await streamed(
        client, "slow", {"n": 3}, thread=thread, stream_mode=["values", "updates"], stream_resumable=True
    )
    (run,) = await client.runs.list(thread)
    states = await client.threads.get_history(thread)
    assert len(states) == 5

    async def joined(checkpoint_id, last_event_id="-1"):
        stream = client.runs.join_stream(
            thread, run["run_id"], last_event_id=last_event_id, params={"checkpoint_id": checkpoint_id}
        )
        return [(part.event, part.data) async for part in stream]

    for state in states:
        rest = await joined(state["checkpoint"]["checkpoint_id"])
        steps = state["values"].get("steps", [])
        shown = [data["steps"] for name, data in rest if name == "values" and "steps" in data and data["steps"]]
        assert shown == [["tick"] * count for count in range(len(steps) + 1, 4)]
        assert told[len(told) - len(rest) :] == rest
    assert await joined(states[0]["checkpoint"]["checkpoint_id"], last_event_id=None) == []
    assert await joined(str(uuid.uuid1())) == told, "it is none of the run's"


async def test_an_event_id_counts_more_than_a_checkpoint(client):
    thread = (await client.threads.create())["thread_id"]
    stream = client.runs.stream(thread, "steps", input={"n": 1}, stream_mode="values", stream_resumable=True)
    parts = [part async for part in stream]
    (run,) = await client.runs.list(thread)
    newest = (await client.threads.get_state(thread))["checkpoint"]["checkpoint_id"]
    joined = client.runs.join_stream(thread, run["run_id"], last_event_id=parts[0].id, params={"checkpoint_id": newest})
    assert [part async for part in joined] == parts[1:]


# --- lives of subgraphs ---


def lives(told):
    return [
        (head, data["event"]) for head, (_, data) in zip(heads(told), told, strict=True) if head.startswith("lifecycle")
    ]


@pytest.mark.parametrize("subgraphs", [True, False])
@pytest.mark.parametrize(
    ("graph", "seen"),
    [
        ("nested", [("lifecycle|child", "started"), ("lifecycle|child", "completed")]),
        ("failing", [("lifecycle|child", "started"), ("lifecycle|child", "failed")]),
        (
            "nested_ask",
            [
                ("lifecycle|middle", "started"),
                ("lifecycle|middle|child", "started"),
                ("lifecycle|middle|child", "interrupted"),
                ("lifecycle|middle", "interrupted"),
            ],
        ),
        ("steps", []),
    ],
)
async def test_the_mode_lifecycle_tells_of_subgraphs(client, graph, seen, subgraphs):
    told = await streamed(client, graph, stream_mode=["lifecycle", "values"], stream_subgraphs=subgraphs)
    assert lives(told) == seen
    assert any("|" in name for name in names(told) if name.startswith("values")) is (subgraphs and bool(seen))
    if graph == "failing":
        (error,) = [data["error"] for _, data in told if data.get("event") == "failed"]
        assert error == {"error": "ValueError", "message": "planned failure"}


@pytest.mark.parametrize("subgraphs", [True, False])
async def test_a_subgraph_that_a_tool_call_started_names_the_call(client, subgraphs):
    told = await streamed(client, "delegating", {"n": 1}, stream_mode="lifecycle", stream_subgraphs=subgraphs)
    assert lives(told) == [("lifecycle|tools", "started"), ("lifecycle|tools", "completed")]
    for name, life in told[1:]:
        assert life["namespace"] == name.split("|")[1:]
        assert life["tool_call_id"] == "call_delegate"


# --- the v2 event stream ---


async def test_lives_and_questions_have_ids_that_name_the_run(http):
    thread = str(uuid.uuid4())
    run = await start(http, thread, "nested_ask", {})
    async with events(http, thread) as stream:
        seen = await stream.until(ended)
    for event in seen:
        data = event["params"]["data"]
        if event["method"] == "lifecycle":
            wanted = f"synth:{run}:lc|{'|'.join(event['params']['namespace'])}|{data['event']}"
        elif event["method"] == "input.requested":
            assert data["namespace"] == event["params"]["namespace"]
            wanted = f"synth:{run}:input||{data['interrupt_id']}"
        else:
            wanted = f"{run}:{event['seq']}"
        assert event["event_id"] == wanted
    ids = [event["event_id"] for event in seen]
    assert len(set(ids)) == len(ids)


async def asked(http, graph, input=None):
    """A thread that waits for answers, and the ids of its questions."""
    thread, seen = await run_to_end(http, graph, input or {})
    return thread, [one["interrupt_id"] for one in data(seen, "input.requested", root=False)], seen[-1]["seq"]


async def test_every_client_hears_which_questions_are_answered(http):
    thread, (question,), since = await asked(http, "asking", {"n": 1})
    await command(http, thread, "input.respond", {"interrupt_id": question, "response": "yes"})
    async with events(http, thread, ["input", "lifecycle"], since=since) as stream:
        first, second, *_ = await stream.until(ended)
    assert phase_of(first) == "running"
    assert (second["method"], second["params"]["namespace"]) == ("input.answered", [])
    assert second["params"]["data"] == {"interrupt_ids": [question]}


async def test_an_answer_that_names_no_question_is_told_as_the_answer_to_the_one_that_waits(http):
    thread, (question,), since = await asked(http, "nested_ask")
    await start(http, thread, "nested_ask", "yes")
    async with events(http, thread, ["input", "lifecycle"], since=since) as stream:
        seen = await stream.until(ended)
    assert data(seen, "input.answered") == [{"interrupt_ids": [question]}]


async def test_a_refused_answer_says_why_and_what_still_waits(http, client):
    """The answer is taken while its question is open, and another run asks anew before the answer's own run begins."""

    async def let_go(thread):
        await client.store.put_item(["go"], thread, {})

    thread = str(uuid.uuid4())
    await start(http, thread, "held_asking", {"n": 1})
    await let_go(thread)
    async with events(http, thread, ["input", "lifecycle"]) as stream:
        seen = await stream.until(ended)
        (old,) = data(seen, "input.requested")
        await client.store.delete_item(["go"], thread)
        other = await client.runs.create(thread, "held_asking", input={"n": 2})
        params = {"interrupt_id": old["interrupt_id"], "response": "late", "strict_resume": True}
        assert (await command(http, thread, "input.respond", params))["type"] == "success"
        await let_go(thread)
        failed = (await stream.until(lambda event: phase_of(event) == "failed"))[-1]["params"]["data"]
    assert (await client.runs.get(thread, other["run_id"]))["status"] == "success"
    (task,) = (await client.threads.get_state(thread))["tasks"]
    new = task["interrupts"][0]["id"]
    assert (failed["reason"], failed["interrupt_ids"], failed["pending_ids"]) == (
        "not_pending",
        [old["interrupt_id"]],
        [new],
    )
    assert old["interrupt_id"] != new


@pytest.mark.parametrize("spelling", ["multitask_strategy", "multitaskStrategy", "both"])
async def test_the_strategy_counts_in_either_spelling(http, client, spelling):
    thread = str(uuid.uuid4())
    first = await start(http, thread, "slow", {"n": 1000})
    spellings = ["multitask_strategy", "multitaskStrategy"] if spelling == "both" else [spelling]
    await start(http, thread, "steps", {"n": 1}, **dict.fromkeys(spellings, "interrupt"))
    async with asyncio.timeout(PATIENCE):
        while (await client.runs.get(thread, first))["status"] != "interrupted":
            await asyncio.sleep(0.02)


async def test_two_spellings_that_differ_are_refused(http, client):
    thread = str(uuid.uuid4())
    params = {"assistant_id": "steps", "multitask_strategy": "reject", "multitaskStrategy": "enqueue"}
    answer = await command(http, thread, "run.start", params)
    assert (answer["error"], answer["message"]) == (
        "invalid_argument",
        "multitask_strategy and multitaskStrategy differ",
    )
    assert (await http.get(f"/threads/{thread}")).status_code == 404
    params = {"assistant_id": "steps", "interrupt_id": "x", "strict_resume": "yes"}
    assert (await command(http, thread, "input.respond", params))["error"] == "invalid_argument"


async def test_a_named_custom_event_reaches_the_channel_of_its_name(http):
    thread, _ = await run_to_end(http, "naming", {})
    for channels in (["custom"], ["custom:progress"]):
        async with events(http, thread, channels) as stream:
            (event,) = await stream.until(lambda event: True)
        assert event["params"]["data"] == {"name": "progress", "step": 1}


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_iterators_of_the_stock_sdk_end_with_a_run_that_is_cancelled(url, http, action, transport):
    client = get_client(url=url)
    async with client.threads.stream(assistant_id="slow", transport=transport) as thread:
        run = await thread.run.start(input={"n": 1000})

        async def cancel():
            async with events(http, thread.thread_id, ["updates"]) as stream:
                await stream.until(lambda event: True)
            await client.runs.cancel(thread.thread_id, run["run_id"], action=action)

        cancelling = asyncio.create_task(cancel())
        async with asyncio.timeout(PATIENCE):
            assert [value async for value in thread.values]
            with pytest.raises(RuntimeError, match="The run was cancelled"):
                await thread.output
        await cancelling
        thread_id = thread.thread_id
    async with events(http, thread_id, ["lifecycle"]) as stream:
        seen = await stream.until(lambda event: phase_of(event) == "failed")
    assert [phase_of(event) for event in seen] == ["running", "interrupted", "failed"]
    tree = await command(http, thread_id, "agent.getTree")
    assert tree["result"]["tree"]["status"] == "interrupted"


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
async def test_a_run_that_is_cancelled_before_it_starts_tells_so(http, client, action):
    thread = str(uuid.uuid4())
    first = await start(http, thread, "slow", {"n": 1000})
    waiting = await start(http, thread, "steps", {"n": 1})
    async with events(http, thread, ["lifecycle"]) as stream:
        await stream.until(lambda event: phase_of(event) == "running")
        await client.runs.cancel(thread, waiting, action=action)
        seen = await stream.until(lambda event: phase_of(event) == "failed", timeout=10)
        assert [event["event_id"] for event in seen[1:]] == [
            f"synth:{waiting}:lc||interrupted",
            f"synth:{waiting}:lc||failed",
        ]
    await client.runs.cancel(thread, first)
