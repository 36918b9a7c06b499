"""Observers of runs: the log, metrics, traces."""

import logging
from collections.abc import Callable, Sequence

import msgspec

from threadloom.log import log_line
from threadloom.types import Run

log = logging.getLogger("threadloom.run")


class RunEnd(msgspec.Struct, frozen=True):
    """How an attempt ended: with the run's status, or `requeued` or `lost` when the run continues elsewhere.

    `error` is the class name of the error; its text is left out because it may contain anything. `seconds` is the attempt's
    duration.
    """

    status: str
    error: str | None
    seconds: float


NotifyEnd = Callable[[RunEnd], None]
Observer = Callable[[Run], NotifyEnd]
"""Called when an attempt begins, in the attempt's own task. Returns a function that is called with the attempt's end, in the same
task, before those who wait for the run are notified. Neither may raise.
"""


def all_of(observers: Sequence[Observer]) -> Observer:
    """Combines several observers. They are notified of the end in the reverse order."""

    def begin(run: Run) -> NotifyEnd:
        notifications = [observe(run) for observe in observers]

        def end(ending: RunEnd) -> None:
            for notify in reversed(notifications):
                notify(ending)

        return end

    return begin


def log_run(run: Run) -> NotifyEnd:
    """Logs each attempt that ends, and (level DEBUG) each that begins."""
    log.debug("run %s begins, attempt %s", run.run_id, run.attempt)

    def end(ending: RunEnd) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        seconds = round(ending.seconds, 3)
        fields = {
            "graph_id": run.graph_id,
            "assistant_id": run.assistant_id,
            "status": ending.status,
            "error": ending.error,
            "attempt": run.attempt,
            "seconds": seconds,
        }
        why = f" ({ending.error})" if ending.error else ""
        log_line(log, logging.INFO, f"run of {run.graph_id}: {ending.status}{why} in {seconds} s", fields)

    return end
