"""The v2 event stream through the stock Python SDK, by HTTP and by web socket."""

import asyncio

import pytest
from langgraph_sdk import get_client

from tests.wire.protocol_client import PATIENCE

pytestmark = pytest.mark.anyio
SAY = {"messages": [{"role": "user", "content": "hi you"}]}


@pytest.fixture(scope="module")
def url(protocol_url):
    return protocol_url


@pytest.fixture(params=["sse", "websocket"])
def open_thread(request, url):
    client = get_client(url=url)

    def open_(assistant, thread_id=None):
        return client.threads.stream(thread_id, assistant_id=assistant, transport=request.param)

    return open_


async def listed(iterator):
    async with asyncio.timeout(PATIENCE):
        return [item async for item in iterator]


async def test_a_run_gives_its_output(open_thread):
    async with open_thread("steps") as thread:
        started = await thread.run.start(input={"n": 3})
        assert started["run_id"]
        assert (await thread.output)["steps"] == ["count 3"]


async def test_values_arrive_until_the_end_of_the_run(open_thread):
    async with open_thread("slow") as thread:
        await thread.run.start(input={"n": 2})
        seen = await listed(thread.values)
    assert seen[-1]["steps"] == ["tick", "tick"]


async def test_a_message_streams_word_by_word(open_thread):
    async with open_thread("chat") as thread:
        await thread.run.start(input=SAY)
        (message,) = await listed(thread.messages)
        assert await listed(message.text) == ["echo:", " hi", " you"]


async def test_messages_told_at_once_do_not_mix(open_thread):
    async with open_thread("duet") as thread:
        await thread.run.start(input=SAY)
        texts = {await message.text for message in await listed(thread.messages)}
    assert texts == {"l l l", "r r r"}


async def test_a_message_that_breaks_off_says_so(open_thread):
    async with open_thread("breaking_off") as thread:
        await thread.run.start(input=SAY)
        (message,) = await listed(thread.messages)
        with pytest.raises(Exception, match="the model broke"):
            await message.text


async def test_tool_calls_have_input_and_output(open_thread):
    async with open_thread("tools") as thread:
        await thread.run.start(input=SAY)
        (call,) = await listed(thread.tool_calls)
        assert (call.name, call.input) == ("add", {"a": 2, "b": 3})
        assert (await call.output)["content"] == "5"


async def test_subgraphs_are_discovered(open_thread):
    async with open_thread("nested") as thread:
        await thread.run.start(input={})
        (child,) = await listed(thread.subgraphs)
    assert (child.graph_name, child.status) == ("child", "completed")


async def test_custom_events_are_found_by_name(open_thread):
    async with open_thread("nested") as thread:
        await thread.run.start(input={})
        seen = await listed(thread.extensions["note"])
    assert seen == [{"name": "note", "payload": {"from": "outer"}}]


async def test_several_channels_arrive_in_the_order_of_the_server(open_thread):
    async with open_thread("nested") as thread:
        await thread.run.start(input={})
        seen = await listed(thread.interleave_projections(["updates", "checkpoints", "values"]))
    # Values are those of the subgraph too, of which the second step consists.
    step, inside = ["updates", "checkpoints", "values"], ["values", "values"]
    assert [kind for kind, _ in seen] == ["checkpoints", "checkpoints", *step, *inside, *step]


async def test_an_interrupt_has_its_value_and_is_answered(open_thread):
    async with open_thread("asking") as thread:
        await thread.run.start(input={"n": 1})
        await listed(thread.values)
        async with asyncio.timeout(PATIENCE):
            while not thread.interrupts:
                await asyncio.sleep(0.01)
        assert thread.interrupted
        assert thread.interrupts[0]["value"] == {"question": "go on?"}
        await thread.run.respond("yes")
        output = await thread.output
    assert output["answers"] == {"ask": "yes"}
    assert output["steps"] == ["count 1"]


async def test_a_later_client_finds_the_open_question(open_thread):
    async with open_thread("asking") as first:
        await first.run.start(input={"n": 1})
        await listed(first.values)
        thread_id = first.thread_id
    async with open_thread("asking", thread_id) as later:
        async with asyncio.timeout(PATIENCE):
            while not later.interrupts:
                await asyncio.sleep(0.01)
        await later.run.respond("late")
        assert (await later.output)["answers"] == {"ask": "late"}


async def test_a_question_deep_inside_is_answered(open_thread):
    async with open_thread("nested_ask") as thread:
        await thread.run.start(input={})
        async with asyncio.timeout(PATIENCE):
            while not thread.interrupts:
                await asyncio.sleep(0.01)
        (asked,) = thread.interrupts
        assert [segment.split(":")[0] for segment in asked["namespace"]] == ["middle", "child"]
        await thread.run.respond("deep", interrupt_id=asked["interrupt_id"])
        assert (await thread.output)["answers"] == {"ask": "deep"}


async def test_a_failed_run_tells_why(open_thread):
    async with open_thread("failing") as thread:
        await thread.run.start(input={})
        with pytest.raises(RuntimeError, match="planned failure"):
            await thread.output


async def test_a_refused_command_raises(open_thread):
    async with open_thread("no_such_graph") as thread:
        with pytest.raises(RuntimeError, match="invalid_argument"):
            await thread.run.start(input={})


async def test_a_second_run_shows_its_own_values(open_thread):
    async with open_thread("steps") as thread:
        await thread.run.start(input={"n": 1})
        await thread.output
        await thread.run.start(input={"n": 2})
        seen = await listed(thread.values)
    assert seen[-1]["steps"] == ["count 1", "count 2"]


async def test_a_run_forks_from_a_checkpoint(open_thread, url):
    client = get_client(url=url)
    async with open_thread("steps") as thread:
        for n in (1, 2):
            run = await thread.run.start(input={"n": n})
            await client.runs.join(thread.thread_id, run["run_id"])
        history = await client.threads.get_history(thread.thread_id, limit=20)
        end_of_first = next(state for state in history if state["values"].get("steps") == ["count 1"])
        place = {"configurable": {"checkpoint_id": end_of_first["checkpoint"]["checkpoint_id"]}}
        run = await thread.run.start(input={"n": 9}, config=place)
        await client.runs.join(thread.thread_id, run["run_id"])
        state = await client.threads.get_state(thread.thread_id)
    assert state["values"]["steps"] == ["count 1", "count 9"]


async def test_the_agents_of_a_graph_are_told(open_thread):
    async with open_thread("nested") as thread:
        tree = await thread.agent.get_tree()
    assert {node["id"] for node in tree["nodes"]} >= {"outer", "child"}
