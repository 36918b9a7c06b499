"""Measures copies of a long thread: time and bytes of 1,000 copies in one request. `python -m tests.measure.many_copies [URL]`.

Without URL it starts a server on a new folder. With the URL of another server of `tests/apps/chat`, it makes such a thread there
and copies it once, for comparison.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx
from langgraph_sdk import get_client

from tests.server import running

APP = Path(__file__).parent.parent / "apps" / "chat"
COPIES = ({}, {"count": 1000}, {"count": 1000, "keep": "latest"}, {"count": 1000, "keep": 100})


async def history(url, length, size):
    """Makes a thread of that many checkpoints, each with a value of `size` bytes of its own."""
    client = get_client(url=url, timeout=1200)
    thread = (await client.threads.create(graph_id="loop"))["thread_id"]
    given = {"left": length - 2, "bytes": size}
    await client.runs.wait(thread, "loop", input=given, config={"recursion_limit": length + 10})
    return thread


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder else 0


async def measure(url, thread, options, folder, rounds):
    times, bytes_ = [], []
    async with httpx.AsyncClient(base_url=url, timeout=600) as http:
        for _ in range(rounds):
            before, begin = size_of(folder), time.perf_counter()
            answer = await http.post(f"/threads/{thread}/copy", json=options or None)
            times.append(time.perf_counter() - begin)
            answer.raise_for_status()
            bytes_.append(size_of(folder) - before)
    return statistics.median(times), max(bytes_)


async def main(url, folder, length, size, rounds):
    begin = time.perf_counter()
    thread = await history(url, length, size)
    print(f"{length} checkpoints of {size} bytes in {time.perf_counter() - begin:.0f} s")
    for options in COPIES if folder else COPIES[:1]:
        seconds, bytes_ = await measure(url, thread, options, folder, rounds)
        print(f"{options or 'one whole copy'}: {seconds * 1000:.1f} ms, {bytes_ / 1000:.0f} kB (largest of {rounds})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?")
    parser.add_argument("--length", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.url:
        asyncio.run(main(given.url, None, given.length, given.size, given.rounds))
    else:
        with tempfile.TemporaryDirectory() as folder, running(APP, Path(folder) / "data") as server:
            asyncio.run(main(server.url, Path(folder) / "data", given.length, given.size, given.rounds))
