"""`threadloom import --from-postgres`: what the real package `langgraph-checkpoint-postgres` wrote goes on here."""

import json
import sys
import uuid
from pathlib import Path

import asyncpg
import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph_sdk import get_client

from tests import forkserver
from tests.apps.threads import graphs
from tests.server import running
from tests.wire.maps import right
from threadloom.checkpointer import Saver
from threadloom.ids import default_assistant_id
from threadloom.storage.sqlite import SqliteStorage
from threadloom.storage.threads import ThreadQuery

pytestmark = pytest.mark.anyio

APP = Path(graphs.__file__).parent
ASKED, NESTED, DELTA, TALK = (str(uuid.uuid4()) for _ in range(4))
NAMED = "user-1"
OLD = "user/old"


def bring(uri, data, *words, status=0):
    command = [sys.executable, "-m", "threadloom", "import", "--from-postgres", uri, *words]
    command += ["--config", str(APP / "langgraph.json"), "--data", str(data)]
    done = forkserver.run(command, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
async def source(postgres_uri):
    """A database in which the package keeps threads: asked, with an inner graph, with deltas, with ids of any kind."""
    name = f"source_{uuid.uuid4().hex}"
    server = await asyncpg.connect(postgres_uri)
    await server.execute(f"CREATE DATABASE {name}")
    uri = f"{postgres_uri.rpartition('/')[0]}/{name}"
    try:
        async with AsyncPostgresSaver.from_conn_string(uri) as saver:
            await saver.setup()
            await _run(saver, "ask", ASKED, {"path": ["s"]})
            await _run(saver, "nested", NESTED, {"x": 1})
            await _run(saver, "delta", DELTA, {"path": ["one"]}, {"path": ["two"]})
            await _run(saver, "chain", NAMED, {"path": ["long " * 100]}, {"x": 7})
            await _talk(saver)
        connection = await asyncpg.connect(uri)
        await _write_as_of_old(connection)
        await connection.close()
        yield uri
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def _run(saver, graph_id, thread_id, *inputs):
    graph = getattr(graphs, graph_id).builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": thread_id}, "metadata": {"graph_id": graph_id, "mark": thread_id}}
    for value in inputs:
        await graph.ainvoke(value, config)


async def _talk(saver):
    """A talk whose second message was replaced, and whose first answer was made again."""
    graph = graphs.talk.builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": TALK}, "metadata": {"graph_id": "talk", "mark": TALK}}
    for text in ("one " * 300, "two", "sum up"):
        await graph.ainvoke({"messages": [HumanMessage(text)]}, config)
    states = [state async for state in graph.aget_state_history(config)][::-1]
    await graph.ainvoke({"messages": [HumanMessage("TWO")]}, states[2].config)
    await graph.ainvoke(None, states[1].config)


async def _write_as_of_old(connection):
    """Two checkpoints as the package stored them before its fourth version: what was sent stands with the one before."""
    serde = JsonPlusSerializer()
    for checkpoint_id, parent in (
        ("1ef00000-0000-6000-8000-000000000001", None),
        ("1ef00000-0000-6000-8001-000000000002", "1ef00000-0000-6000-8000-000000000001"),
    ):
        checkpoint = {
            "v": 3,
            "id": checkpoint_id,
            "ts": "2024-05-01T10:00:00.123456+00:00",
            "channel_values": {"x": 1},
            "channel_versions": {"x": "1", "messages": "2"},
            "versions_seen": {},
            "pending_sends": [],
        }
        await connection.execute(
            "INSERT INTO checkpoints VALUES ($1, '', $2, $3, NULL, $4, '{\"step\": 1, \"source\": \"loop\"}')",
            OLD, checkpoint_id, parent, json.dumps(checkpoint),
        )  # fmt: skip
    kind, data = serde.dumps_typed([HumanMessage("hi", id="m"), AIMessage("ho", id="n")])
    await connection.execute("INSERT INTO checkpoint_blobs VALUES ($1, '', 'messages', '2', $2, $3)", OLD, kind, data)
    for number in range(2):
        kind, data = serde.dumps_typed({"to": number})
        await connection.execute(
            "INSERT INTO checkpoint_writes VALUES ($1, '', $2, 'task', $3, '__pregel_tasks', $4, $5)",
            OLD, "1ef00000-0000-6000-8000-000000000001", number, kind, data,
        )  # fmt: skip


async def all_of(saver, thread_id):
    """Every checkpoint of a thread as its saver gives it, newest first, without the thread's own id."""
    found = [one async for one in saver.alist({"configurable": {"thread_id": thread_id}})]
    found.sort(key=lambda one: (one.checkpoint["id"], one.config["configurable"]["checkpoint_ns"]), reverse=True)
    return [
        (
            {**one.checkpoint, "ts": None},
            {key: value for key, value in one.metadata.items() if key != "thread_id"},
            {**one.config["configurable"], "thread_id": None},
            one.parent_config and {**one.parent_config["configurable"], "thread_id": None},
            sorted(one.pending_writes or (), key=repr),
        )
        for one in found
    ]


async def records(data):
    storage = SqliteStorage(data)
    await storage.open()
    try:
        return await storage.read(lambda tx: tx.threads.search(ThreadQuery(sort_by="created_at", limit=99)))
    finally:
        await storage.close()


async def test_every_checkpoint_is_read_as_before(source, tmp_path):
    assert "6 threads with" in bring(source, tmp_path, "--graph", "chain")
    own_ids = {
        thread.metadata.get("imported_from", thread.thread_id): thread.thread_id for thread in await records(tmp_path)
    }
    assert own_ids.keys() == {ASKED, NESTED, DELTA, NAMED, OLD, TALK}
    storage = SqliteStorage(tmp_path)
    await storage.open()
    async with AsyncPostgresSaver.from_conn_string(source) as saver:
        for before, here in own_ids.items():
            expected = await all_of(saver, before)
            assert len(expected) > 1
            assert await all_of(Saver(storage), here) == expected
    await storage.close()


async def test_threads_go_on_where_they_stood(source, tmp_path):
    bring(source, tmp_path, "--graph", "chain")
    assert "6 threads were there already" in bring(source, tmp_path, "--graph", "chain")
    with running(APP, tmp_path) as server:
        client = get_client(url=server.url)
        asked = await client.threads.get(ASKED)
        assert (asked["status"], asked["values"]) == ("interrupted", {"path": ["s", "a"], "x": 1})
        assert [one["value"] for waiting in asked["interrupts"].values() for one in waiting] == [{"seen": ["s", "a"]}]
        answered = await client.runs.wait(ASKED, "ask", command={"resume": "yes"})
        assert answered["path"] == ["s", "a", "yes", "z"]
        again = await client.runs.wait(DELTA, "delta", input={"path": ["three"]})
        assert again["path"] == [step for word in ("one", "two", "three") for step in (word, "a", "b", "c")]
        async with httpx.AsyncClient(base_url=server.url) as http:
            turns = await right(client, http, TALK)
        assert sorted(map(len, (turn["siblings"] for turn in turns)))[-4:] == [2, 2, 2, 2]
        (named,) = await client.threads.search(metadata={"imported_from": NAMED})
        assert named["metadata"]["assistant_id"] == default_assistant_id("chain")
        states = [
            await client.threads.get_state(one)
            for one in (named["thread_id"], (await client.threads.copy(named["thread_id"]))["thread_id"])
        ]
        assert states[0]["values"] == states[1]["values"] == named["values"]


async def test_one_thread_can_be_asked_for(source, tmp_path):
    assert "1 threads with" in bring(source, tmp_path, "--thread", NESTED)
    assert [thread.thread_id for thread in await records(tmp_path)] == [NESTED]


def test_a_database_without_the_tables_is_refused(postgres_uri, tmp_path):
    assert "no table `checkpoints`" in bring(postgres_uri, tmp_path, status=1)
    assert "cannot be reached" in bring("postgresql://127.0.0.1:9/none", tmp_path, status=1)
    assert "no such graph" in bring(postgres_uri, tmp_path, "--graph", "other", status=2)
