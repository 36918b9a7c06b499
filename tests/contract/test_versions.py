"""Versions of values that are built on others which come and go: each reads back as it was put."""

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from tests.contract.versions_model import Conversations
from tests.storages import rows_of
from threadloom.checkpointer import Saver, versions

pytestmark = pytest.mark.anyio


async def put_versions(saver, thread, texts, config=None):
    """Puts a checkpoint for each text, with a list that has this and those before. Gives the config of the newest."""
    config = config or {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    before = await saver.aget_tuple(config)
    grown = list(before.checkpoint["channel_values"]["grown"]) if before else []
    for text in texts:
        grown.append(text * 1000)
        checkpoint = empty_checkpoint()
        checkpoint["id"] = f"{thread}-{len(grown):04d}"
        checkpoint["channel_values"] = {"grown": list(grown)}
        checkpoint["channel_versions"] = {"grown": len(grown)}
        config = await saver.aput(config, checkpoint, {}, {"grown": len(grown)})
    return config


async def stored(storage, thread):
    """The newest list of a thread, as a process that remembers nothing reads it: the first letter of each text."""
    found = await Saver(storage).aget_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
    texts = found.checkpoint["channel_values"]["grown"]
    assert all(text == text[0] * 1000 for text in texts)
    return "".join(text[0] for text in texts)


async def test_a_value_stored_anew_is_not_taken_for_one_that_is_gone(storage):
    saver = Saver(storage)
    for thread, texts in (("one", "abcdef"), ("two", "bcdefa")):
        config = await put_versions(saver, thread, texts)
        await saver.aprune([thread])
        await put_versions(saver, thread, "k", config)
        assert await stored(storage, thread) == texts + "k"
        await saver.adelete_thread(thread)


@pytest.mark.parametrize("remembered", [versions.KEPT_BYTES, 30_000])
async def test_two_processes_in_turns_whatever_is_taken_away_beneath_them(
    storage, lineage_tables, monkeypatch, remembered
):
    monkeypatch.setattr(versions, "KEPT_BYTES", remembered)
    conversations = Conversations(remembered)
    conversations.over(storage)
    for step in range(200):
        await conversations.step(step)
    await conversations.check()
    lineage_tables.check()
    assert rows_of(storage, "SELECT count(*) FROM blobs WHERE base IS NOT NULL")[0][0] > 0
    assert rows_of(storage, "SELECT count(*) FROM writes WHERE type = 'msgpack+over'")[0][0] > 0
