"""What comparing two threads of 5,000 checkpoints of 20 kB costs, on SQLite in one process: python -m tests.measure.trees

The time is the processor time of the whole process for one request, client included, as a median.
"""

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.in_process import serving
from threadloom.storage.lineage import Blob, CheckpointPut

APP = Path(__file__).parents[1] / "apps" / "threads" / "langgraph.json"
CHECKPOINTS, SIZE, ROUNDS = 5000, 20_000, 30


async def grow(storage, thread_id, count, start):
    """Puts checkpoints, each the child of the one before and each with a value of its own."""
    parent = None if start == 0 else f"{start - 1:08d}-0000-6000-8000-000000000000"
    row = parent and await storage.read(lambda tx: tx.lineage.latest(thread_id, ""))
    parent = row and row.checkpoint_id
    for first in range(start, start + count, 500):

        async def work(tx, first=first):
            nonlocal parent
            for number in range(first, min(first + 500, start + count)):
                checkpoint_id = f"{number:08d}-{len(thread_id):04d}-6000-8000-{abs(hash(thread_id)) % 10**12:012d}"
                blob = Blob(storage.new_blob_id(), "bytes", os.urandom(SIZE))
                put = CheckpointPut(
                    thread_id=thread_id,
                    namespace="",
                    checkpoint_id=checkpoint_id,
                    parent=parent,
                    body_type="msgpack",
                    body=os.urandom(900),
                    refs={"x": blob.id},
                    blobs=[blob],
                    meta=b'{"source":"loop","step":1,"parents":{}}',
                )
                await tx.lineage.put(put)
                parent = checkpoint_id

        await storage.write(work, heavy=True)


async def measured(what, ask):
    await ask()
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        await ask()
        times.append((time.process_time() - began) * 1e3)
    print(f"{what}: {statistics.median(times):.2f} ms, at best {min(times):.2f}", flush=True)


async def main():
    with tempfile.TemporaryDirectory() as folder:
        async with serving(APP, {}, Path(folder) / "data") as (server, client, _):
            storage = server.storage

            async def made(path="", **body):
                return (await client.post(f"/threads{path}", json=body)).json()["thread_id"]

            async def compared(a, b):
                response = await client.get(f"/threads/{a}/compare/{b}")
                assert response.status_code == 200, response.text
                return response.json()

            thread = await made()
            await grow(storage, thread, CHECKPOINTS, 0)
            copy = await made(f"/{thread}/copy")
            await measured("a copy with its source, nothing since", lambda: compared(thread, copy))
            await grow(storage, copy, 10, CHECKPOINTS)
            await grow(storage, thread, 10, CHECKPOINTS)
            await measured("10 checkpoints since on each side", lambda: compared(thread, copy))
            await grow(storage, copy, CHECKPOINTS, 2 * CHECKPOINTS)
            found = await compared(thread, copy)
            assert (found["a"]["ahead"], found["b"]["ahead"]) == (10, CHECKPOINTS + 10)
            await measured(f"10 and {CHECKPOINTS + 10} since", lambda: compared(thread, copy))
            other = await made()
            await grow(storage, other, CHECKPOINTS, 0)
            await measured("nothing in common, 5,010 and 5,000", lambda: compared(thread, other))
            many = await made()
            for _ in range(10):
                await asyncio.gather(*(made(f"/{many}/copy") for _ in range(100)))
            await measured("lineage of 1,001 threads", lambda: client.get(f"/threads/{many}/lineage"))
            await measured("digests of 1,000 checkpoints", lambda: client.get(f"/threads/{thread}/digests?limit=1000"))


if __name__ == "__main__":
    asyncio.run(main())
