"""Imports threads one after the other, each in one transaction. An interrupted import can be repeated."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.graphs.registry import GraphRegistry
from threadloom.importers.history import History, Show, keep, show
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.storage.base import Storage
from threadloom.storage.lineage import CheckpointPut
from threadloom.types import SYSTEM, Thread

log = logging.getLogger("threadloom.importers")


class Source(Protocol):
    """A source of threads."""

    async def thread_ids(self) -> Sequence[str]:
        """Returns the ids of all threads that are to be imported.

        Raises:
            ThreadloomError: the source cannot be read.
        """
        ...

    async def history(self, thread_id: str) -> History:
        """Returns the whole history of a thread, oldest checkpoint first.

        Raises:
            ThreadloomError: the source cannot be read, or this history cannot be rebuilt from it.
        """
        ...


class ImportReport(msgspec.Struct, kw_only=True):
    """The result of an import. `there` threads existed already; the states of `unread` could not be read through a graph."""

    threads: int = 0
    checkpoints: int = 0
    there: int = 0
    untied: int = 0
    unread: list[str] = []


def reading(storage: Storage, graphs: GraphRegistry) -> Show:
    """Returns a function that reads states through the served graphs."""
    opened = ThreadGraphs(storage=storage, graphs=graphs)

    async def read(thread: Thread) -> Snapshot:
        graph_id = graph_of(thread)
        if graph_id is None:
            return EMPTY
        async with opened.open(SYSTEM, thread, graph_id, "threads.read") as graph:
            configurable = {"thread_id": thread.thread_id, "checkpoint_ns": ""}
            return await thread_state(graph, {"configurable": configurable})

    return read


async def import_threads(
    storage: Storage,
    source: Source,
    read: Show,
    *,
    only: Sequence[str] | None = None,
    progress: Callable[[float], None],
) -> ImportReport:
    """Stores the threads of a source that do not exist yet.

    Args:
        read: reads the state of a thread that was stored, for its record.
        only: the threads to import, by their ids in the source; None: all.
        progress: called with the fraction that is done.
    """
    brought = ImportReport()
    ids = list(only) if only is not None else await source.thread_ids()
    for number, thread_id in enumerate(ids):
        history = await source.history(thread_id)
        if await keep(storage, history):
            brought.threads += 1
            brought.checkpoints += sum(isinstance(put, CheckpointPut) for put in history.puts)
            await _show(storage, history.thread, read, brought)
        else:
            brought.there += 1
        progress((number + 1) / len(ids))
    return brought


async def _show(storage: Storage, thread: Thread, read: Show, brought: ImportReport) -> None:
    if graph_of(thread) is None:
        brought.untied += 1
        return
    try:
        await show(storage, thread, read)
    except Exception:
        log.warning("the state of thread %s cannot be read through its graph", thread.thread_id, exc_info=True)
        brought.unread.append(thread.thread_id)
