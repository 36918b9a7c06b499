"""Who looks on while runs are executed: the log, figures, traces."""

import logging
from collections.abc import Callable, Sequence

import msgspec

from threadloom.log import log_line
from threadloom.types import Run

log = logging.getLogger("threadloom.run")


class RunEnd(msgspec.Struct, frozen=True):
    """How an attempt ended: as the run did, or `requeued` or `lost` if the run goes on elsewhere.

    `error` is the class of what went wrong, for its text may say anything. `seconds` is how long the attempt took.
    """

    status: str
    error: str | None
    seconds: float


NotifyEnd = Callable[[RunEnd], None]
Observer = Callable[[Run], NotifyEnd]
"""Told when an attempt begins, in the attempt's own task; what it gives is told of the end, in the same task, before those who
wait for the run are. Neither may raise."""


def all_of(observers: Sequence[Observer]) -> Observer:
    """Several observers as one; the last to be told of the beginning is the first to be told of the end."""

    def begin(run: Run) -> NotifyEnd:
        notifications = [observe(run) for observe in observers]

        def end(ending: RunEnd) -> None:
            for notify in reversed(notifications):
                notify(ending)

        return end

    return begin


def log_run(run: Run) -> NotifyEnd:
    """A line in the log for each attempt that ended, and (level DEBUG) for its beginning."""
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
