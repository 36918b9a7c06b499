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
        """Returns the output of a run as JSON. If its checkpoint was pruned, the current values of the thread are used.

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
        values = await self._values(thread, run, outcome.checkpoint_id)
        return whole_output(outcome.output_json, values or thread.values_json or b"{}")

    async def _values(self, thread: Thread, run: Run, checkpoint_id: str) -> bytes | None:
        place = {"thread_id": thread.thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}
        config = {"configurable": {**place, AT_END_OF: run.run_id}}
        async with self._graphs.open(SYSTEM, thread, run.graph_id, "threads.read") as graph:
            return (await thread_state(graph, config)).values_json
