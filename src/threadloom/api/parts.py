"""What the routes are told beside the services."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


async def _no_queue() -> dict[str, Any]:
    return {"n_pending": 0, "n_running": 0}


async def _ready() -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Backstage:
    """What the system routes tell of the process.

    Attributes:
        ready: looks whether requests should come here; raises Unavailable when not.
        probes: name of a backing service -> looks whether it answers; raises when it does not.
        queue: figures of the queue: `n_pending`, `n_running` and waiting times in seconds.
        workers: how many runs this process may execute at once, and how many it does.
        flags: further entries of `flags` in `/info`.
        reload: what `/info` tells of reloading the app's code; None: it is not watched.
    """

    ready: Callable[[], Awaitable[None]] = _ready
    probes: Mapping[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    queue: Callable[[], Awaitable[Mapping[str, Any]]] = _no_queue
    workers: Callable[[], tuple[int, int]] = lambda: (0, 0)
    flags: Mapping[str, Any] = field(default_factory=dict)
    reload: Callable[[], Mapping[str, Any] | None] = lambda: None
