"""Reads the outputs of runs that have ended."""

from threadloom.checkpointer import AT_END_OF
from threadloom.engine.outputs import RecentOutputs, whole_output
from threadloom.engine.snapshot import thread_state
from threadloom.services.thread_graph import ThreadGraphs
from threadloom.storage.base import Storage, Tx
from threadloom.types import SYSTEM, Outcome, Run, Thread


class RunOutputs:
    """Reads whole outputs, including those that are stored as references to a checkpoint.

    Args:
        recent: the outputs of runs that ended in this process.
    """

    def __init__(self, *, storage: Storage, graphs: ThreadGraphs, recent: RecentOutputs) -> None:
        self._storage = storage
        self._graphs = graphs
        self._recent = recent

    def recent(self, run_id: str) -> bytes | None:
        """Returns the output of a run that ended in this process, without reading the storage. None if it is not cached."""
        return self._recent.get(run_id)

    async def read(self, outcome: Outcome) -> bytes:
        """Returns the output of a run as JSON, also if the head of its thread was moved since. If its checkpoint was pruned, the
        current values of the thread are used.

        Raises:
            NotFound: the run's graph is no longer served.
            UndecipherableError: the state cannot be decrypted.
        """
        if outcome.checkpoint_id is None:
            return outcome.output_json
        output = self._recent.get(outcome.run_id)
        if output is not None:
            return output

        async def work(tx: Tx) -> tuple[Thread | None, Run | None]:
            return await tx.threads.get(outcome.thread_id), await tx.runs.get(outcome.run_id)

        thread, run = await self._storage.read(work)
        if thread is None or run is None:
            return b"{}"
        at = outcome.checkpoint_id
        values = await self._values(thread, run, thread.thread_id, at)
        if values is None:
            head = await self._storage.read(lambda tx: tx.lineage.showing(thread.thread_id, at))
            values = None if head is None else await self._values(thread, run, head, at)
        return whole_output(outcome.output_json, values or thread.values_json or b"{}")

    async def _values(self, thread: Thread, run: Run, head: str, checkpoint_id: str) -> bytes | None:
        """Returns the values at a checkpoint at the end of a run, as the thread or a former head of it shows them."""
        place = {"thread_id": head, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}
        config = {"configurable": {**place, AT_END_OF: (thread.thread_id, run.run_id)}}
        async with self._graphs.open(SYSTEM, thread, run.graph_id, "threads.read") as graph:
            return (await thread_state(graph, config)).values_json
