"""Solves a puzzle by forking a thread eight ways, keeping the best, and forking that one again.

    python search.py            # reaches 100 from 1
    python search.py 720

Each level is one request for eight copies, and eight runs at once. At the end the first thread takes over the history of the
best one, and the tree of all attempts is printed.
"""

import asyncio
import os
import sys

from countdown import STEPS
from langgraph_sdk import get_client

from threadloom.client import ThreadRepository

URL = os.environ.get("LANGGRAPH_URL", "http://127.0.0.1:2024")
MOST_LEVELS = 20


async def main(target: int) -> None:
    client = get_client(url=URL)
    repository = ThreadRepository(client)
    start = await client.threads.create(
        graph_id="countdown",
        supersteps=[{"updates": [{"values": {"target": target, "number": 1}, "as_node": "__start__"}]}],
    )
    numbers = {start["thread_id"]: 1}

    async def attempt(thread_id: str, step: str) -> str:
        state = await client.runs.wait(thread_id, "countdown", input={}, context={"step": step})
        numbers[thread_id] = state["number"]
        return thread_id

    best = start["thread_id"]
    kept = {best}
    for _ in range(MOST_LEVELS):
        if numbers[best] == target:
            break
        copies = await repository.copy_many(best, len(STEPS), metadata=[{"step": step} for step in STEPS])
        attempts = await asyncio.gather(*(attempt(copy["thread_id"], copy["metadata"]["step"]) for copy in copies))
        best = min(attempts, key=lambda thread_id: abs(target - numbers[thread_id]))
        kept.add(best)

    await repository.promote(start["thread_id"], best)
    state = await client.threads.get_state(start["thread_id"])
    for thread in (await repository.lineage(start["thread_id"]))["threads"]:
        mark = " *" if thread["thread_id"] in kept else ""
        print("   " * thread["depth"] + str(numbers[thread["thread_id"]]) + mark)
    print("1", *state["values"]["taken"], "=", state["values"]["number"])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
