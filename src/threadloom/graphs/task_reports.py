"""Tasks of a graph and of all within it, reported beside what it streams."""

import asyncio
from collections.abc import Callable
from typing import Any

from langgraph.pregel.protocol import StreamProtocol

_STREAM = "__pregel_stream"
"""Key of `configurable` under which LangGraph hands a graph's stream to the graphs within it."""


def with_reports(config: dict[str, Any], take: Callable[[tuple[str, ...], Any], None]) -> dict[str, Any]:
    """A config by which a graph and all within it report their tasks, whatever they stream.

    Args:
        take: called on this loop with the namespace and each task that begins or ends.
    """
    loop = asyncio.get_running_loop()

    def report(chunk: tuple[tuple[str, ...], str, Any]) -> None:
        # A graph that a node calls without awaiting it runs in another thread.
        loop.call_soon_threadsafe(take, chunk[0], chunk[2])

    stream = StreamProtocol(report, {"tasks"})
    return {**config, "configurable": {**config["configurable"], _STREAM: stream}}
