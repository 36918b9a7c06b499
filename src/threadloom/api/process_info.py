"""What the routes know of the process, in addition to the services."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from threadloom.api.metrics import Report


async def _no_queue() -> dict[str, Any]:
    return {"n_pending": 0, "n_running": 0}


async def _ready() -> None:
    return


async def _own_report(report: Report) -> dict[str, Report]:
    return {"": report}


@dataclass(frozen=True, kw_only=True)
class ProcessInfo:
    """What the system routes report of the process.

    Attributes:
        ready: checks whether the process should get requests; raises Unavailable if not.
        probes: name of a backing service -> a check that it responds; raises if it does not.
        queue: metrics of the queue: `n_pending`, `n_running` and waiting times in seconds.
        workers: how many runs this process may execute concurrently, and how many it executes.
        details: what `/server` reports; None: it is not served.
        reports: takes this process's report; returns those of all processes that share its port, by their names.
        flags: further entries of `flags` in `/info`.
        reload: what `/info` reports of reloading the app's code; None: the code is not watched.
    """

    ready: Callable[[], Awaitable[None]] = _ready
    probes: Mapping[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    queue: Callable[[], Awaitable[Mapping[str, Any]]] = _no_queue
    workers: Callable[[], tuple[int, int]] = lambda: (0, 0)
    reports: Callable[[Report], Awaitable[Mapping[str, Report]]] = _own_report
    details: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    reload: Callable[[], Mapping[str, Any] | None] = lambda: None
