"""A run in a worker's hands: what stops it, and who looks on."""

import asyncio
import time
from typing import Any

from threadloom.engine.observe import NotifyEnd, Observer, RunEnd
from threadloom.graphs.registry import GraphRegistry
from threadloom.types import Run


class ExecutingRun:
    """A run in this worker's hands, with the graphs that were served when it began: it ends on the code it began with."""

    def __init__(self, run: Run, graphs: GraphRegistry) -> None:
        self.run = run
        self.graphs = graphs
        self.task: asyncio.Task[Any] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.cancelled = False
        self.lost = False
        self.over = False
        self._began = time.perf_counter()
        self._notify: NotifyEnd | None = None
        self._stopped = False
        self._executing = False

    def stop(self) -> None:
        """Cancels the execution, from any thread: now, or as soon as it begins. A run that is being settled ends as it will."""
        self._stopped = True
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._cancel)

    def observe(self, observer: Observer) -> None:
        """Lets somebody look on from here to the end."""
        self._began = time.perf_counter()
        self._notify = observer(self.run)

    def notify_end(self, status: str, error: str | None = None) -> None:
        """Tells who looks on how this attempt ended. The first word counts."""
        notify, self._notify = self._notify, None
        if notify is not None:
            notify(RunEnd(status, error, time.perf_counter() - self._began))

    def execute(self) -> None:
        """From here on it can be stopped."""
        self._executing = True
        if self._stopped:
            self._cancel()

    def finalize(self) -> None:
        """From here on it can be stopped no more."""
        self._executing = False

    def _cancel(self) -> None:
        if self._executing and self.task is not None:
            self.task.cancel()
