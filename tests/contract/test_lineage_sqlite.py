"""What only a file has: positions live in memory, and must never be handed out again after a restart."""

import pytest

from tests.contract.test_lineage import checkpoint, copy, ids, put
from threadloom.storage.sqlite import SqliteStorage

pytestmark = pytest.mark.anyio


async def reopened(storage, path):
    await storage.close()
    again = SqliteStorage(path)
    await again.open()
    return again


async def newest(storage, thread):
    return await storage.read(lambda tx: tx.lineage.latest(thread, ""))


async def test_positions_and_eras_grow_over_restarts_and_deletions(tmp_path):
    storage = SqliteStorage(tmp_path)
    await storage.open()
    seen: list[int] = []
    for _ in range(4):
        await put(storage, checkpoint("t", "1"), checkpoint("t", "2", "1"))
        row = await newest(storage, "t")
        assert row.pos > max(seen, default=0)
        assert row.era > max(seen, default=0)
        seen += [row.pos, row.era]
        await storage.write(lambda tx: tx.lineage.delete("t"))
        storage = await reopened(storage, tmp_path)
    await storage.close()


async def test_a_copy_stays_what_it_was_after_restarts(tmp_path):
    storage = SqliteStorage(tmp_path)
    await storage.open()
    await put(storage, checkpoint("t", "1"), checkpoint("t", "2", "1", run_id="run"))
    await copy(storage, "t", "copy")
    await storage.write(lambda tx: tx.lineage.rollback("t", "run"))
    storage = await reopened(storage, tmp_path)
    await put(storage, checkpoint("t", "3", "1"))
    assert await ids(storage, "copy") == ["2", "1"]
    assert await ids(storage, "t") == ["3", "1"]
    await storage.close()


async def test_what_failed_leaves_no_trace_and_positions_go_on(tmp_path):
    storage = SqliteStorage(tmp_path)
    await storage.open()

    async def broken(tx):
        await tx.lineage.put(checkpoint("lost", "1"))
        await tx.lineage.copy("lost", "copy of lost")
        raise OSError("on the way")

    for _ in range(3):
        with pytest.raises(OSError, match="on the way"):
            await storage.write(broken)
        await put(storage, checkpoint("t", "1"))
        await copy(storage, "t", "copy")
        assert await ids(storage, "copy") == ["1"]
        assert await ids(storage, "lost") == await ids(storage, "copy of lost") == []
        for thread in ("t", "copy"):
            await storage.write(lambda tx, name=thread: tx.lineage.delete(name))
    await storage.close()
