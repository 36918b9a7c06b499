"""A process that puts on a few threads as fast as it can, until its input ends: python -m tests.risk.copied_writer URI NAME."""

import asyncio
import random
import sys

from threadloom.storage.lineage import Blob, CheckpointPut, PendingWrite, WritesPut
from threadloom.storage.postgres import PostgresStorage

THREADS = ("red", "green", "blue")


async def write(uri: str, name: str) -> None:
    storage = PostgresStorage(uri, connections=6)
    await storage.open()
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    print("ready", flush=True)
    await asyncio.gather(*(put(storage, f"{name}{number}", ended) for number in range(4)))
    await storage.close()


async def put(storage: PostgresStorage, name: str, ended: asyncio.Future[str]) -> None:
    rand = random.Random(name)
    number = 0
    while not ended.done():
        number += 1
        thread, checkpoint_id = rand.choice(THREADS), f"{name}-{number:06}"
        blob = Blob(storage.new_blob_id(), "t", checkpoint_id.encode())
        checkpoint = CheckpointPut(
            thread_id=thread,
            namespace="",
            checkpoint_id=checkpoint_id,
            parent=None,
            body_type="t",
            body=checkpoint_id.encode(),
            refs={"x": blob.id},
            blobs=[blob],
            meta=b"{}",
            early=[],
        )
        writes = WritesPut(
            thread_id=thread,
            namespace="",
            checkpoint_id=checkpoint_id,
            writes=[PendingWrite("task", idx, "x", "t", b"%d" % idx, "") for idx in range(rand.randrange(3))],
        )
        if rand.random() < 0.2:

            async def both(tx, checkpoint=checkpoint, writes=writes):
                await tx.lineage.put(checkpoint)
                await tx.lineage.put_writes(writes)

            await storage.write(both)
        else:
            await asyncio.gather(
                storage.write(lambda tx, put=checkpoint: tx.lineage.put(put), single=True),
                storage.write(lambda tx, put=writes: tx.lineage.put_writes(put), single=True),
            )


if __name__ == "__main__":
    asyncio.run(write(*sys.argv[1:]))
