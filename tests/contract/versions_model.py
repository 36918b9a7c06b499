"""Random operations on threads of which each checkpoint has values, and writes of nodes, that grow: a model of what is seen."""

import copy
import itertools
import random

from langgraph.checkpoint.base import empty_checkpoint

from threadloom.checkpointer import Saver


class Conversations:
    """Threads, and what must be read back from them. Two processes write in turns."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.numbers = itertools.count(1)
        self.threads = {"0": []}
        """Each with its checkpoints, oldest first: (id, namespace, values, versions, run)."""
        self.written = {}
        """The pending writes of each checkpoint."""

    def over(self, storage):
        """Goes on with a storage. The processes remember nothing."""
        self.storage, self.savers = storage, [Saver(storage), Saver(storage)]

    async def put(self, saver, thread, run):
        rng = self.rng
        seen, namespace = self.threads[thread], rng.choice(["", "inner:1"])
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
        new = {
            channel: f"{next(self.numbers):05}" for channel in ("texts", "pairs") if rng.random() < 0.8 or not before
        }
        values = {"texts": texts, "pairs": pairs}
        if mine:
            values |= {channel: parent[2][channel] for channel in values if channel not in new}
        checkpoint = empty_checkpoint()
        checkpoint["id"] = f"{next(self.numbers):06}"
        checkpoint["channel_values"] = {channel: copy.copy(value) for channel, value in values.items()}
        checkpoint["channel_versions"] = {**before, **new}
        config = await saver.aput(config, checkpoint, {"run_id": run}, new)
        seen.append((checkpoint["id"], namespace, values, checkpoint["channel_versions"], run))
        if rng.random() < 0.5:  # a node gives its channels as a whole, changed
            config["configurable"]["run_id"] = run
            given = [*texts[rng.randrange(2) :], rng.choice("abcdefgh") * 400]
            writes = self.written[checkpoint["id"]] = [("task", "texts", given), ("task", "pairs", {**pairs, "new": 1})]
            await rng.choice(self.savers).aput_writes(config, [write[1:] for write in writes], "task")

    async def step(self, step):
        rng = self.rng
        saver, thread = rng.choice(self.savers), rng.choice(list(self.threads))
        kind, seen = rng.random(), self.threads[thread]
        if kind < 0.75 or not seen:
            for _ in range(rng.randrange(1, 5)):
                await self.put(saver, thread, f"run {step}")
        elif kind < 0.82:
            await saver.aprune([thread])
            newest = {checkpoint[1]: checkpoint for checkpoint in seen}
            self.threads[thread] = [checkpoint for checkpoint in seen if newest[checkpoint[1]] is checkpoint]
        elif kind < 0.88:
            run = rng.choice(seen)[4]
            for name in await self.storage.read(lambda tx: tx.lineage.threads_of_run(run)):
                self.threads[name] = [checkpoint for checkpoint in self.threads[name] if checkpoint[4] != run]
            await saver.adelete_for_runs([run])
        elif kind < 0.95:
            await saver.acopy_thread(thread, str(step))
            self.threads[str(step)] = list(seen)
        elif len(self.threads) > 2:
            await saver.adelete_thread(thread)
            del self.threads[thread]

    async def check(self):
        """A process that remembers nothing reads all that is to be seen."""
        for thread, seen in self.threads.items():
            found = Saver(self.storage).alist({"configurable": {"thread_id": thread}})
            values = {
                each.checkpoint["id"]: (each.checkpoint["channel_values"], each.pending_writes) async for each in found
            }
            assert values == {one[0]: (one[2], self.written.get(one[0], [])) for one in seen}
