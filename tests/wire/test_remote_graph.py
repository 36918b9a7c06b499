"""`RemoteGraph`, LangGraph's own client that is a graph: called, streamed, asked for state, and part of another graph."""

import uuid
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "agents"
SAY = {"messages": [{"role": "user", "content": "hi you"}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("remote") / "data") as server:
        yield server.url


@pytest.fixture
def remote(url):
    return lambda graph: RemoteGraph(graph, url=url)


def on_thread(thread_id):
    return {"configurable": {"thread_id": thread_id}}


async def a_thread(client):
    return (await client.threads.create())["thread_id"]


async def test_it_is_called(remote):
    answered = await remote("chat").ainvoke(SAY)
    assert [message["content"] for message in answered["messages"]] == ["hi you", "echo: hi you"]
    assert (await remote("count").ainvoke({"n": 3}))["total"] == 4


def test_it_is_called_without_an_event_loop(remote):
    assert remote("count").invoke({"n": 3})["total"] == 4
    assert [part["total"] for part in remote("count").stream({"n": 3}, stream_mode="values") if "total" in part] == [4]


async def test_it_streams_in_every_mode_at_once(remote):
    modes = ["values", "updates", "messages", "custom", "debug"]
    seen = [part.event async for part in remote("chat").astream(SAY, stream_mode=modes)]
    assert {"values", "updates", "messages", "debug"} <= set(seen)
    updates = [part async for part in remote("count").astream({"n": 1}, stream_mode="updates")]
    assert [next(iter(part.values()))["total"] for part in updates] == [2]


async def test_it_has_state_and_history_on_a_thread(remote):
    graph = remote("count")
    config = on_thread(await a_thread(graph.client))
    assert (await graph.ainvoke({"n": 1}, config))["total"] == 2
    state = await graph.aget_state(config)
    assert (state.values["total"], state.next) == (2, ())
    updated = await graph.aupdate_state(config, {"total": 10})
    assert (await graph.aget_state(config)).values["total"] == 10
    assert (await graph.aget_state(updated)).values["total"] == 10
    history = [state async for state in graph.aget_state_history(config)]
    assert [one.values.get("total") for one in history][:2] == [10, 2]
    forked = await graph.aupdate_state(history[1].config, {"total": 5})
    assert (await graph.aget_state(forked)).values == {"n": 1, "total": 5}


async def test_a_question_is_seen_and_answered(remote):
    graph = remote("ask")
    config = on_thread(await a_thread(graph.client))
    await graph.ainvoke({"question": "go on?", "messages": []}, config)
    state = await graph.aget_state(config)
    assert state.next
    assert len(state.interrupts) == 1
    await graph.ainvoke(Command(resume="yes"), config)
    assert (await graph.aget_state(config)).next == ()


async def test_a_failure_comes_as_one(remote):
    with pytest.raises(RemoteException):
        await remote("fail").ainvoke({})


async def test_it_tells_its_shape(remote):
    drawn = await remote("count").aget_graph()
    assert {"__start__", "__end__"} < set(drawn.nodes)


async def test_it_is_a_node_of_another_graph(remote):
    """The inner thread is the server's; the outer graph keeps its own, and sees what the inner one streams."""
    outer = (
        StateGraph(MessagesState).add_node("inner", remote("chat")).add_edge(START, "inner").compile(InMemorySaver())
    )
    config = on_thread(str(uuid.uuid4()))
    answered = await outer.ainvoke(SAY, config)
    assert answered["messages"][-1].content == "echo: hi you"
    parts = [part async for part in outer.astream(SAY, config, subgraphs=True, stream_mode="values")]
    assert any(namespace for namespace, _ in parts)


async def test_a_question_within_interrupts_the_outer_graph(remote):
    builder = StateGraph(MessagesState).add_node("inner", remote("ask")).add_edge(START, "inner")
    outer = builder.compile(InMemorySaver())
    waiting = await outer.ainvoke(SAY, on_thread(str(uuid.uuid4())))
    assert [asked.value for asked in waiting["__interrupt__"]] == ["which city?"]
