"""Moves of a thread's head: what the model test does not reach."""

import pytest

from threadloom.codec import to_json
from threadloom.storage.lineage import CheckpointPut, PendingWrite, WritesPut
from threadloom.storage.lineage.moves import MOST_FORMER_HEADS

pytestmark = pytest.mark.anyio


class History:
    """The lineage of a storage, one call a transaction."""

    def __init__(self, storage):
        self.storage = storage

    async def write(self, name, *args, **more):
        return await self.storage.write(lambda tx: getattr(tx.lineage, name)(*args, **more))

    async def put(self, thread, checkpoint_id, run=None, parent=None):
        await self.write(
            "put",
            CheckpointPut(
                thread_id=thread,
                namespace="",
                checkpoint_id=checkpoint_id,
                parent=parent,
                body_type="t",
                body=b"",
                refs={},
                blobs=[],
                meta=to_json({} if run is None else {"run_id": run}),
                run_id=run,
            ),
        )

    async def answer(self, thread, checkpoint_id, run):
        write = PendingWrite("t", 0, "x", "t", b"", "")
        put = WritesPut(thread_id=thread, namespace="", checkpoint_id=checkpoint_id, writes=[write], run_id=run)
        await self.write("put_writes", put)

    async def reset(self, thread, at, now=0):
        return await self.write("reset", thread, at, now=now, record={})

    async def undo(self, thread):
        return await self.write("undo", thread, now=0, record={})

    async def ids(self, thread):
        rows = await self.storage.read(lambda tx: tx.lineage.history(thread))
        return [row.checkpoint_id for row in rows]

    async def former(self, thread):
        return await self.storage.read(lambda tx: tx.lineage.former_heads(thread))


@pytest.fixture
async def history(storage):
    return History(storage)


async def test_the_newest_former_heads_are_kept(history, lineage_tables):
    await history.put("t", "1")
    await history.put("t", "2")
    for now in range(MOST_FORMER_HEADS + 3):
        await history.reset("t", "1", now)
    heads = await history.former("t")
    assert [head.moved_at for head in heads] == list(range(MOST_FORMER_HEADS + 2, 2, -1))
    lineage_tables.check()
    with pytest.raises(KeyError):  # its former head was the oldest
        await history.reset("t", "2")
    await history.write("delete", "t")
    assert set(lineage_tables.counts().values()) == {0}


async def test_everything_of_a_run_goes_wherever_the_thread_has_been(history, lineage_tables):
    """Its checkpoints, what was promoted with them, and an answer that it gave on another run's checkpoint."""
    await history.put("t", "1", "one")
    await history.write("copy", "t", "copy")
    await history.put("copy", "9", "other", parent="1")
    await history.answer("t", "1", "two")
    await history.reset("t", "1")
    await history.put("t", "2", "three", parent="1")
    assert len(await history.former("t")) == 1
    await history.write("delete_run", "t", "two")  # only a former head shows its answer
    assert await history.former("t") == []
    await history.write("promote", "t", "copy", now=0, record={})
    await history.write("delete_run", "t", "one")
    assert (await history.ids("t"), await history.former("t")) == (["9"], [])
    assert await history.ids("copy") == ["9", "1"]
    lineage_tables.check()


async def test_a_run_that_only_a_former_head_shows_can_be_deleted_after_others(history):
    """Deleting a run cuts the thread's view; what is known of runs beyond the cut stays, as long as something shows them."""
    await history.put("t", "0")
    await history.put("t", "1", "one", parent="0")
    await history.reset("t", "0")
    await history.put("t", "2", "two", parent="0")
    await history.undo("t")
    await history.write("delete_run", "t", "one")
    assert (await history.ids("t"), len(await history.former("t"))) == (["0"], 1)
    await history.undo("t")
    assert await history.ids("t") == ["2", "0"]
    await history.write("delete_run", "t", "two")
    assert await history.ids("t") == ["0"]
    assert await history.undo("t") is not None
    assert await history.ids("t") == ["0"]


async def test_a_thread_without_history_is_promoted_and_comes_back_to_nothing(history, lineage_tables):
    await history.put("source", "1", "one")
    moved = await history.write("promote", "t", "source", now=0, record={})
    assert (moved.before, moved.after) == (None, "1")
    assert await history.ids("t") == ["1"]
    await history.undo("t")
    assert await history.ids("t") == []
    await history.put("t", "2", "two")
    await history.write("rollback", "t", "two")
    await history.undo("t")
    assert await history.ids("t") == ["1"]
    lineage_tables.check()
    with pytest.raises(ValueError, match="nowhere has no history"):
        await history.write("promote", "t", "nowhere", now=0, record={})
    for thread in ("t", "source"):
        await history.write("delete", thread)
    assert set(lineage_tables.counts().values()) == {0}
