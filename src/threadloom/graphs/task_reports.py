"""Reports the tasks of a graph and of all its subgraphs, in addition to what it streams."""

import asyncio
from collections.abc import Callable
from typing import Any

from langgraph.pregel.protocol import StreamProtocol

_STREAM = "__pregel_stream"
"""Key of `configurable` with which LangGraph passes a graph's stream to its subgraphs."""


def with_reports(config: dict[str, Any], take: Callable[[tuple[str, ...], Any], None]) -> dict[str, Any]:
    """Returns a config with which a graph and all its subgraphs report their tasks, whatever they stream.

    Args:
        take: called on this loop with the namespace and each task that begins or ends.
    """
    loop = asyncio.get_running_loop()

    def report(chunk: tuple[tuple[str, ...], str, Any]) -> None:
        # A graph that a node calls synchronously runs in another thread.
        loop.call_soon_threadsafe(take, chunk[0], chunk[2])

    stream = StreamProtocol(report, {"tasks"})
    return {**config, "configurable": {**config["configurable"], _STREAM: stream}}
