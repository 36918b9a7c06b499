"""A run that this worker executes: its task, its cancellation and its observer."""

import asyncio
import time
from typing import Any

from threadloom.engine.observe import NotifyEnd, Observer, RunEnd
from threadloom.graphs.registry import GraphRegistry
from threadloom.types import Run


class ExecutingRun:
    """A run that this worker executes. It keeps the graphs that were served when it began, and ends on that code."""

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
        """Cancels the execution, now or as soon as it begins. Does nothing to a run that is being finalized. Thread-safe."""
        self._stopped = True
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._cancel)

    def observe(self, observer: Observer) -> None:
        """Attaches an observer until the attempt ends."""
        self._began = time.perf_counter()
        self._notify = observer(self.run)

    def notify_end(self, status: str, error: str | None = None) -> None:
        """Notifies the observer how this attempt ended. Only the first call has an effect."""
        notify, self._notify = self._notify, None
        if notify is not None:
            notify(RunEnd(status, error, time.perf_counter() - self._began))

    def execute(self) -> None:
        """Marks the execution as begun: from here on it can be cancelled."""
        self._executing = True
        if self._stopped:
            self._cancel()

    def finalize(self) -> None:
        """Marks the execution as ended: from here on it cannot be cancelled."""
        self._executing = False

    def _cancel(self) -> None:
        if self._executing and self.task is not None:
            self.task.cancel()
