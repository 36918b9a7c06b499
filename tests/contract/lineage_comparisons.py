"""What a storage shows of its threads, compared with what a model that really copies shows."""

import functools
import itertools

import msgspec

from tests.contract.lineage_model import History
from tests.contract.turns_model import naive_turns
from threadloom.lineage.merge_base import Path, divergence
from threadloom.lineage.turns import Turns
from threadloom.services.branches import load_turns
from threadloom.storage.lineage import PendingWrite
from threadloom.storage.lineage.digests import checkpoint_digest, value_digest, write_digest

NAMES = ("a", "b", "c", "d", "e")
NAMESPACES = ("", "", "", "inner:1", "inner:1|deep:2", "memory")
SMALL = 12


class Comparisons:
    """A storage and the model, side by side."""

    async def write(self, name, *args, **kwargs):
        async def work(tx):
            return await getattr(tx.lineage, name)(*args, **kwargs)

        return await self.storage.write(work)

    async def read(self, name, *args, **kwargs):
        async def work(tx):
            return await getattr(tx.lineage, name)(*args, **kwargs)

        return await self.storage.read(work)

    async def compare_moves(self, thread):
        formers = self.former.get(thread, [])
        found = await self.read("former_heads", thread)
        assert [one.reason for one in found] == [reason for _, reason in reversed(formers)]
        for one, (history, _) in zip(found, reversed(formers), strict=True):
            rows = await self.read("history", one.head)
            shown = [self.shown(history, event) for event in history.checkpoints()]
            assert [self.read_as(row) for row in rows] == shown
            assert one.checkpoint_id == history.newest_root()
        tags = {tag.name: tag.checkpoint_id for tag in await self.read("tags", thread)}
        assert tags == self.tags.get(thread, {})

    def shown(self, history, event, view=None):
        writes = [(write.task_id, write.idx, write.data) for write in history.writes(event.key, view=view)]
        return event.namespace, event.checkpoint_id, event.parent, event.meta, event.values, writes

    def read_as(self, row):
        values = {channel: whole(row, blob) for channel, blob in row.refs.items()}
        writes = [(write.task_id, write.idx, write.data) for write in row.writes]
        assert row.body == row.checkpoint_id.encode()
        return row.namespace, row.checkpoint_id, row.parent, row.meta, values, writes

    async def compare_histories(self):
        for thread in NAMES:
            history = self.threads.get(thread, History())
            rows = await self.read("history", thread)
            assert [self.read_as(row) for row in rows] == [
                self.shown(history, event) for event in history.checkpoints()
            ]

    async def compare_turns(self, thread, history):
        roots = [event for event in reversed(history.checkpoints()) if event.namespace == ""]
        messages = [msgspec.msgpack.decode(event.values.get("messages", b"\x90")) for event in roots]
        told = [
            (event.checkpoint_id, event.parent, [(one["id"], one["content"]) for one in listed])
            for event, listed in zip(roots, messages, strict=True)
        ]
        expected, shown = naive_turns(told)
        turns, truncated = await self.storage.read(lambda tx: load_turns(tx, thread))
        assert not truncated
        middle = len(turns.rows) // 2
        extended = Turns(turns.rows, Turns(turns.rows[:middle]))
        assert extended.turns == turns.turns
        assert [extended.siblings(n) for n in range(len(turns.turns))] == [
            turns.siblings(n) for n in range(len(turns.turns))
        ]
        if not expected:
            return
        found = [
            (turn.id, turn.before, turns.after(turn), list(turns.siblings(number)))
            for number, turn in enumerate(turns.turns)
        ]
        assert found == [(id_, before, after, siblings) for id_, _, before, after, siblings in expected]
        assert turns.active() == set(shown[-1])
        for event, numbers in zip(roots, shown, strict=True):
            assert turns.last_at(event.checkpoint_id) == (numbers[-1] if numbers else None)

    async def compare_everything(self):
        for thread in NAMES:
            history = self.threads.get(thread, History())
            events = history.checkpoints()
            expected = [self.shown(history, event) for event in events]
            assert await self.read("exists", thread) == bool(events)
            for event, wanted in zip(events[:SMALL], expected, strict=False):
                assert self.read_as(await self.read("get", thread, event.namespace, event.checkpoint_id)) == wanted
            view = history.view()
            for namespace in dict.fromkeys(NAMESPACES):
                part = [shown for shown in expected if shown[0] == namespace]
                current = [
                    self.shown(history, one, view) for one in history.checkpoints(view) if one.namespace == namespace
                ]
                newest = await self.read("latest", thread, namespace)
                assert (newest and self.read_as(newest)) == (current[0] if current else None)
                rows = await self.read("history", thread, namespace=namespace, branch=True)
                assert [self.read_as(row) for row in rows] == current
                for event in events[:3]:
                    await self.compare_then(thread, history, event, namespace)
                await self.compare_pages(thread, namespace, part)
                await self.compare_path(thread, history, namespace)
            await self.compare_usage(thread, history, events)
            await self.compare_moves(thread)
            await self.compare_turns(thread, history)
            await self.compare_digests(thread, history, events)
        await self.compare_pairs()

    async def compare_digests(self, thread, history, events):
        """What was recorded at the put is there, whatever moved or copied the rows."""
        expected = []
        for event in events:
            values = {channel: value_digest("t", value) for channel, value in event.values.items()}
            body = event.checkpoint_id.encode()
            own = checkpoint_digest("t", body, event.meta, values)
            writes = [
                (write.task_id, write.idx, write_digest(stored_write(write.task_id, write.idx, write.data)))
                for write in history.writes(event.key)
            ]
            recorded = f'"{own}{"".join(values[channel] for channel in sorted(values))}"'.encode()
            expected.append((event.namespace, event.checkpoint_id, event.parent, recorded, writes))
        rows = await self.read("digests", thread, before=None, limit=1000)
        found = [(row.namespace, row.checkpoint_id, row.parent, row.recorded, list(row.writes)) for row in rows]
        assert found == expected
        if len(events) > 2:
            rows = await self.read("digests", thread, before=events[1].checkpoint_id, limit=2)
            assert [row.checkpoint_id for row in rows] == [event.checkpoint_id for event in events[2:4]]

    async def compare_pairs(self):
        """Two histories part where the model's do, from their newest checkpoints and from others."""
        for (one, a), (other, b) in itertools.product(self.threads.items(), repeat=2):
            ids = [
                [None, *[event.checkpoint_id for event in history.checkpoints() if not event.namespace][:7:3]]
                for history in (a, b)
            ]
            for at in zip(*ids, strict=False):
                assert await self.divergence((one, at[0]), (other, at[1])) == a.parts_from(at[0], b, at[1])

    async def divergence(self, *sides):
        async def work(tx):
            paths = []
            for thread, checkpoint_id in sides:
                paths.append(Path(functools.partial(tx.lineage.steps, thread)))
                head = checkpoint_id or await tx.lineage.newest_root(thread)
                if head is not None:
                    await paths[-1].start(head, (await tx.lineage.place(thread, head))[1])
            return await divergence(*paths)

        return await self.storage.read(work)

    async def compare_then(self, thread, history, event, namespace):
        """As the thread was when a checkpoint was put."""
        view = history.view_at(event)
        at = (await self.read("get", thread, *event.key)).pos
        newest = next((one for one in history.checkpoints(view) if one.namespace == namespace), None)
        row = await self.read("latest", thread, namespace, at=at)
        assert (row and self.read_as(row)) == (newest and self.shown(history, newest, view))

    async def compare_pages(self, thread, namespace, part):
        for index in range(0, len(part), 3):
            rows = await self.read("history", thread, namespace=namespace, before=part[index][1], limit=2)
            assert [self.read_as(row) for row in rows] == part[index + 1 : index + 3]
        rows = await self.read(
            "history", thread, namespace=namespace, metadata={"step": 1, "thread_id": thread}, limit=3
        )
        assert [self.read_as(row) for row in rows] == [shown for shown in part if shown[3]["step"] == 1][:3]
        assert await self.read("history", thread, namespace=namespace, metadata={"thread_id": "another"}) == []

    async def compare_path(self, thread, history, namespace):
        view = history.view()
        newest = next((event for event in history.checkpoints(view) if event.namespace == namespace), None)
        if newest is None:
            return
        for channel in ("x", "y"):
            ids, value = history.path(namespace, newest.checkpoint_id, channel)
            rows = await self.read("path", thread, namespace, newest.checkpoint_id, [channel])
            assert [row.checkpoint_id for row in rows] == ids
            if value is not None:
                assert whole(rows[-1], rows[-1].refs[channel]) == value
            for row in rows:
                key = namespace, row.checkpoint_id
                is_current = any(event is history.find(*key) for event in view)
                written = history.writes(key, view=view if is_current else None)
                wanted = [(write.task_id, write.idx, write.data) for write in written]
                assert [(w.task_id, w.idx, w.data) for w in row.writes if w.channel == "x"] == (
                    wanted if channel == "x" else []
                )

    async def compare_usage(self, thread, history, events):
        usage = await self.read("usage", thread)
        assert usage.checkpoints[0] == len(events)
        stored = {(channel, value) for event in events for channel, value in event.values.items()}
        sizes = {}
        for channel, value in stored:
            count, size = sizes.get(channel, (0, 0))
            sizes[channel] = (count + 1, size + len(value))
        assert usage.channels == sizes


def stored_write(task_id, idx, data):
    return PendingWrite(task_id, idx, "x", "t", data, "")


def whole(row, id_):
    """A value of which each version adds to the one that it builds on."""
    blob = row.blobs[id_]
    value = blob.data if blob.base is None else whole(row, blob.base) + blob.data
    assert len(value) == blob.size
    return value
