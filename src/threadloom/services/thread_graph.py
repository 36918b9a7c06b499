"""Opens the graph of a thread, for reading and writing its state."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

from threadloom.graphs.registry import GraphRegistry
from threadloom.services.permission import as_caller
from threadloom.storage.base import Storage
from threadloom.types import Caller, Thread

Graph = Any
"""A compiled graph. LangGraph's type parameters are not known for users' graphs."""

Access = Literal["threads.read", "threads.update"]


def graph_of(thread: Thread) -> str | None:
    """Returns the name of the graph in a thread's record, or None."""
    graph_id = thread.metadata.get("graph_id")
    return graph_id if isinstance(graph_id, str) and graph_id else None


class ThreadGraphs:
    """Opens the graph of a thread with the configuration of the thread's last run."""

    def __init__(self, *, storage: Storage, graphs: GraphRegistry) -> None:
        self._storage = storage
        self._graphs = graphs

    @contextlib.asynccontextmanager
    async def open(self, caller: Caller, thread: Thread, graph_id: str, access: Access) -> AsyncIterator[Graph]:
        """Yields the graph with a Threadloom checkpointer, until the block is left.

        A factory gets the configurable of the thread's last run: a graph whose shape depends on it is read with the shape that it
        was run with.

        Raises:
            NotFound: the graph is not served.
        """
        configurable: dict[str, Any] = {}
        if self._graphs.is_made_anew(graph_id):
            configurable = await self._last_configurable(thread.thread_id)
        configurable |= {"thread_id": thread.thread_id, "graph_id": graph_id, **as_caller(caller)}
        async with self._graphs.open(graph_id, config={"configurable": configurable}, access=access) as graph:
            yield graph

    async def _last_configurable(self, thread_id: str) -> dict[str, Any]:
        for run in await self._storage.read(lambda tx: tx.runs.of_thread(thread_id, limit=1)):
            given: dict[str, Any] = run.kwargs.get("config", {}).get("configurable", {})
            return {key: value for key, value in given.items() if not key.startswith(("checkpoint_", "__"))}
        return {}
