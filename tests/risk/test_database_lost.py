"""Connections to the database break at any moment: what was acknowledged is there, once, and all goes on by itself."""

import asyncio

import pytest

from tests.proxy import Proxy
from tests.storages import opened, rows_of
from threadloom.errors import StorageError
from threadloom.storage.lineage import Blob, CheckpointPut
from threadloom.storage.postgres import PostgresStorage

pytestmark = pytest.mark.anyio

CUTS = 12
THREADS = 6


@pytest.fixture
async def storage(request, tmp_path):
    async with opened("postgres", request, tmp_path) as storage:
        yield storage


@pytest.fixture
async def proxy(storage, postgres_uri):
    host, port = postgres_uri.split("@")[1].split("/")[0].split(":")
    with Proxy([(host, int(port))]) as proxy:
        yield proxy


@pytest.fixture
async def through_proxy(proxy, postgres_uri):
    before, after = postgres_uri.split("@")[0], postgres_uri.rsplit("/", 1)[1]
    storage = PostgresStorage(f"{before}@127.0.0.1:{proxy.port}/{after}")
    await storage.open()
    yield storage
    await storage.close()


def checkpoint(storage, thread, checkpoint_id):
    blob = Blob(storage.new_blob_id(), "t", checkpoint_id.encode())
    return CheckpointPut(
        thread_id=thread,
        namespace="",
        checkpoint_id=checkpoint_id,
        parent=None,
        body_type="t",
        body=b"",
        refs={"x": blob.id},
        blobs=[blob],
        meta=b"{}",
    )


async def test_nothing_acknowledged_is_lost_or_doubled(storage, proxy, through_proxy):
    acknowledged: dict[str, list[str]] = {}
    ended = asyncio.Event()

    async def writing(thread, single):
        number = 0
        while not ended.is_set():
            number += 1
            checkpoint_id = f"{thread}-{number:05}"
            put = checkpoint(through_proxy, thread, checkpoint_id)
            try:
                await through_proxy.write(lambda tx, put=put: tx.lineage.put(put), single=single)
            except StorageError as error:
                assert not single, error
                assert "may have been kept or not" in str(error)
            else:
                acknowledged.setdefault(thread, []).append(checkpoint_id)

    writers = [asyncio.ensure_future(writing(f"t{number}", number % 3 > 0)) for number in range(THREADS)]
    for cut in range(CUTS):
        await asyncio.sleep(0.1 + cut % 5 * 0.03)
        proxy.cut()
    await asyncio.sleep(0.3)
    ended.set()
    await asyncio.gather(*writers)

    stored = rows_of(storage, "SELECT checkpoint_id FROM checkpoints")
    assert len(stored) == len(set(stored))
    for thread, cids in acknowledged.items():
        assert len(cids) > CUTS
        rows = await storage.read(lambda tx, thread=thread: tx.lineage.history(thread))
        assert all(row.blobs[row.refs["x"]].data == row.checkpoint_id.encode() for row in rows)
        shown = [row.checkpoint_id for row in reversed(rows)]
        assert set(shown).issuperset(cids)
        assert shown == sorted(shown)
