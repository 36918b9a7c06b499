"""With a key, nothing that a user said lies in clear in the data folder: not in the database, its log, nor beside it."""

import asyncio
import uuid
from pathlib import Path

import pytest
from langgraph_sdk import get_client

from tests.encryptions import KEY
from tests.server import Server, running
from threadloom.cli import main

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "sealed"
"""Its graph puts what it is told everywhere."""


class Words:
    """Texts that are looked for later, each made once."""

    def __init__(self):
        self.said = []

    def __call__(self, kind):
        word = f"{kind}-{uuid.uuid4().hex}"
        self.said.append(word)
        return word

    def found_in(self, folder):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert any(path.name == "threadloom.db" for path in files)
        return {
            (word.partition("-")[0], path.name)
            for path in files
            for word in self.said
            if word.encode() in path.read_bytes()
        }


async def used(url, word):
    """Everything that content can come through once; gives a thread and its copy."""
    client = get_client(url=url)
    thread = (await client.threads.create(metadata={"name": word("named"), "team": "blue"}))["thread_id"]
    said = {"said": [word("input")]}
    await client.runs.wait(thread, "agent", input=said, config={"configurable": {"word": word("configurable")}})
    await client.runs.wait(
        thread, "agent", input=said, context={"word": word("context")}, metadata={"name": word("runs")}
    )
    await client.runs.wait(thread, "agent", input={**said, "ask": word("question")})
    copy = (await client.threads.copy(thread))["thread_id"]
    await client.runs.wait(thread, "agent", command={"resume": word("answer")})
    await client.threads.update_state(thread, {"said": [word("update")]}, as_node="inner")
    async for _ in client.runs.stream(
        thread, "agent", input={"said": [word("stream")]}, stream_mode=["values", "custom"], stream_resumable=True
    ):
        pass
    await client.runs.wait(None, "agent", input={"said": [word("stateless")]})
    await client.runs.wait(
        copy, "agent", input={"said": ["a"], "fail": word("failure")}, config={"tags": [word("tag")]}, raise_error=False
    )
    await client.assistants.create(
        "agent",
        config={"configurable": {"word": word("assistant")}},
        metadata={"name": word("assistants")},
    )
    await client.crons.create_for_thread(thread, "agent", schedule="0 0 1 1 *", input={"said": [word("cron")]})
    await client.store.put_item(["notes"], "key", {"text": word("item"), "n": 1})
    return client, thread, copy


ENV = {"LANGGRAPH_AES_KEY": KEY, "LANGGRAPH_AES_JSON_KEYS": "name"}


async def test_nothing_lies_in_clear_and_everything_is_served(tmp_path):
    word = Words()
    data = tmp_path / "data"
    with running(APP, data, env=ENV) as server:
        client, thread, copy = await used(server.url, word)
        shown = await client.threads.get(thread)
        assert shown["metadata"]["name"].startswith("named-")
        assert shown["values"]["said"][0].startswith("input-")
        history = await client.threads.get_history(thread)
        assert await client.threads.get_history(copy, limit=1000, before=None) != []
        assert (await client.threads.search(values={"said": [word.said[1]]}))[0]["thread_id"] in (thread, copy)
        assert await client.threads.search(metadata={"name": word.said[0]}) == []
        assert {found["thread_id"] for found in await client.threads.search(metadata={"team": "blue"})} == {
            thread,
            copy,
        }
        [item] = (await client.store.search_items(["notes"], filter={"n": 1}))["items"]
        assert item["value"]["text"].startswith("item-")
        runs = await client.runs.list(thread)
        assert any(run["kwargs"]["input"] == {"said": [word.said[1]]} for run in runs)
        assert (await client.threads.search(metadata={"team": "blue"}))[0]["values"]
        server.stop()
    assert word.found_in(data) == set()
    with running(APP, data, env=ENV) as server:
        assert await get_client(url=server.url).threads.get_history(thread) == history


async def test_the_same_words_are_found_without_a_key(tmp_path):
    word = Words()
    with running(APP, tmp_path / "data") as server:
        await used(server.url, word)
        server.stop()
    kinds = {kind for kind, name in word.found_in(tmp_path / "data") if name == "threadloom.db"}
    assert kinds == {said.partition("-")[0] for said in word.said}


async def test_data_in_clear_are_encrypted_by_the_command_and_leave_nothing_behind(tmp_path, monkeypatch):
    word = Words()
    data = tmp_path / "data"
    with running(APP, data) as server:
        client, thread, _ = await used(server.url, word)
        history = await client.threads.get_history(thread)
        server.stop()
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    config = APP / "langgraph.json"
    assert await asyncio.to_thread(main, ["db", "rekey", "--config", str(config), "--data", str(data)]) == 0
    for log in (data / "logs").glob("*"):
        log.unlink()  # what was logged was logged in clear: docs/encryption.md says so
    assert word.found_in(data) == set()
    with running(APP, data, env=ENV) as server:
        assert await get_client(url=server.url).threads.get_history(thread) == history


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, "LANGGRAPH_AES_KEY is not set"),
        ({"LANGGRAPH_AES_KEY": "x" * 16}, "LANGGRAPH_AES_KEY is not the key"),
    ],
)
async def test_a_missing_or_wrong_key_is_told_at_start(tmp_path, env, told):
    data = tmp_path / "data"
    with running(APP, data, env=ENV) as server:
        server.stop()
    other = Server(APP, data, env=env)
    with pytest.raises(AssertionError, match="the server ended with 2"):
        other.start()
    assert told in other.log()
    assert "Traceback" not in other.log()
    with running(APP, data, env=ENV):
        pass
