"""Versions of values that are built on others which come and go: each reads back as it was put."""

import copy
import itertools
import random

import pytest
from langgraph.checkpoint.base import empty_checkpoint

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
    rng = random.Random(remembered)
    savers = [Saver(storage), Saver(storage)]
    written = {}  # by checkpoint
    threads = {"0": []}  # each with its checkpoints, oldest first: (id, namespace, values, versions, run)
    numbers = itertools.count(1)

    async def put(saver, thread, run):
        seen, namespace = threads[thread], rng.choice(["", "inner:1"])
        mine = [checkpoint for checkpoint in seen if checkpoint[1] == namespace]
        config = {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "run_id": run}}
        texts, pairs, before = [], {}, {}
        if mine:
            parent = mine[-1] if rng.random() < 0.85 else rng.choice(mine)
            texts, pairs, before = list(parent[2]["texts"]), dict(parent[2]["pairs"]), parent[3]
            config["configurable"]["checkpoint_id"] = parent[0]
            if rng.random() < 0.5:
                await saver.aget_tuple(config)
        for _ in range(rng.randrange(1, 3)):
            texts.insert(rng.choice([len(texts), rng.randrange(len(texts) + 1)]), rng.choice("abcdefgh") * 400)
        del texts[: rng.choice([0, 0, 0, 2])]
        pairs[str(rng.randrange(20))] = "z" * rng.randrange(400)
        new = {channel: f"{next(numbers):05}" for channel in ("texts", "pairs") if rng.random() < 0.8 or not before}
        values = {"texts": texts, "pairs": pairs}
        if mine:
            values |= {channel: parent[2][channel] for channel in values if channel not in new}
        checkpoint = empty_checkpoint()
        checkpoint["id"] = f"{next(numbers):06}"
        checkpoint["channel_values"] = {channel: copy.copy(value) for channel, value in values.items()}
        checkpoint["channel_versions"] = {**before, **new}
        config = await saver.aput(config, checkpoint, {"run_id": run}, new)
        seen.append((checkpoint["id"], namespace, values, checkpoint["channel_versions"], run))
        if rng.random() < 0.5:  # a node gives its channels as a whole, changed
            config["configurable"]["run_id"] = run
            given = [*texts[rng.randrange(2) :], rng.choice("abcdefgh") * 400]
            written[checkpoint["id"]] = [("task", "texts", given), ("task", "pairs", {**pairs, "new": 1})]
            await rng.choice(savers).aput_writes(config, [write[1:] for write in written[checkpoint["id"]]], "task")

    for step in range(200):
        saver, thread = rng.choice(savers), rng.choice(list(threads))
        kind, seen = rng.random(), threads[thread]
        if kind < 0.75 or not seen:
            for _ in range(rng.randrange(1, 5)):
                await put(saver, thread, f"run {step}")
        elif kind < 0.82:
            await saver.aprune([thread])
            newest = {checkpoint[1]: checkpoint for checkpoint in seen}
            threads[thread] = [checkpoint for checkpoint in seen if newest[checkpoint[1]] is checkpoint]
        elif kind < 0.88:
            run = rng.choice(seen)[4]
            for name in await storage.read(lambda tx, run=run: tx.lineage.threads_of_run(run)):
                threads[name] = [checkpoint for checkpoint in threads[name] if checkpoint[4] != run]
            await saver.adelete_for_runs([run])
        elif kind < 0.95:
            await saver.acopy_thread(thread, str(step))
            threads[str(step)] = list(seen)
        elif len(threads) > 2:
            await saver.adelete_thread(thread)
            del threads[thread]
    for thread, seen in threads.items():
        found = Saver(storage).alist({"configurable": {"thread_id": thread}})
        values = {
            each.checkpoint["id"]: (each.checkpoint["channel_values"], each.pending_writes) async for each in found
        }
        assert values == {checkpoint[0]: (checkpoint[2], written.get(checkpoint[0], [])) for checkpoint in seen}
    lineage_tables.check()
    assert rows_of(storage, "SELECT count(*) FROM writes WHERE type LIKE 'msgpack+over%'")[0][0] > 0
    assert rows_of(storage, "SELECT count(*) FROM blobs WHERE base IS NOT NULL")[0][0] > 0
