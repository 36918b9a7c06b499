"""The floor of paced streams: fifty of them run by LangGraph, without a server.

`python -m tests.measure.paced_alone ../shared/bench/app`: the folder holds the graphs of the measuring tools.
"""

import asyncio
import importlib
import sys
import time
import uuid

from langgraph.checkpoint.memory import InMemorySaver

STREAMS, TOKENS, DELAY_MS = 50, 50, 20


async def main(folder: str) -> None:
    sys.path.insert(0, folder)
    graph = importlib.import_module("graphs").token_graph
    graph.checkpointer = InMemorySaver()

    async def stream() -> None:
        config = {"configurable": {"thread_id": str(uuid.uuid4())}}
        given = {"messages": [("user", "hi")], "count": TOKENS, "delay_ms": DELAY_MS}
        async for _ in graph.astream(given, config, stream_mode=["messages", "values"]):
            pass

    await stream()
    began = time.perf_counter()
    await asyncio.gather(*[stream() for _ in range(STREAMS)])
    print(f"{time.perf_counter() - began:.2f} s; ideal {TOKENS * DELAY_MS / 1000:.2f} s")


asyncio.run(main(sys.argv[1]))
