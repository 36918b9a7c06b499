"""What the process reports of itself: readiness, queue, metrics, and the details for Studio's server page."""

import asyncio
import contextlib
import importlib.metadata
import json
import platform
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

import threadloom
from threadloom import log as logs
from threadloom.api.metrics import Metrics, Report
from threadloom.api.peer_processes import PeerProcesses
from threadloom.api.process_info import ProcessInfo
from threadloom.broker.base import Broker
from threadloom.clock import SECOND, Clock, iso
from threadloom.config.settings import Environment, Settings
from threadloom.engine.worker import Worker
from threadloom.errors import StorageError, Unavailable
from threadloom.storage.base import Storage

PROBE_SECONDS = 2.0
"""Seconds within which the database must respond; otherwise the process is not ready."""

PACKAGES = ("langgraph", "langgraph-checkpoint", "langgraph-sdk", "langchain-core")
"""Packages whose versions are reported."""

HIDDEN = "(hidden)"
"""Stands for a value that may be a secret."""

_SECRET = re.compile(r"secret|token|passw|credential|api_?key|private|_key\b|_key_|authorization|cookie", re.IGNORECASE)
_USER_OF_URI = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class ProcessReports:
    """Reports of one process.

    Args:
        broker: probed too; None: it is part of the process.
        peers: the other processes that share its port, if there are any.
        stopping: whether the process was told to stop.
        reload: what `/info` shows about reloading; None: the app's code is not watched.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        broker: Broker | None,
        worker: Worker,
        clock: Clock,
        metrics: Metrics,
        peers: PeerProcesses | None,
        stopping: Callable[[], bool],
        reload: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._broker = broker
        self._worker = worker
        self._clock = clock
        self._metrics = metrics
        self._peers = peers
        self._stopping = stopping
        self._reload = reload
        self._began = clock.now()

    def info(self, settings: Settings) -> ProcessInfo:
        """Returns the reports for the system routes.

        Args:
            settings: those that are served. A reload changes them.
        """
        probes: dict[str, Callable[[], Awaitable[object]]] = {"database": self._storage.probe}
        if self._broker is not None:
            probes["broker"] = self._broker.probe
        return ProcessInfo(
            ready=self._ready,
            probes=probes,
            queue=self._queue,
            workers=lambda: (self._worker.jobs, self._worker.active),
            reports=self._all_reports,
            # Without auth whoever reaches the server may do everything. With auth nobody is known to be an operator.
            details=None if settings.auth is not None else lambda: self._details(settings),
            reload=self._reload,
        )

    def for_peers(self) -> bytes:
        """Returns the metrics of this process, for another process that shares its port."""
        places = (self._worker.jobs, self._worker.active)
        return msgspec.json.encode(self._metrics.report(self._settings.vars.metric_prefix, places))

    async def _ready(self) -> None:
        if self._stopping():
            raise Unavailable("The process stops: ask another")
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._storage.read(lambda tx: tx.runs.peek(0))
        except (StorageError, TimeoutError) as error:
            raise Unavailable(f"The database cannot be reached: {error}") from error

    async def _queue(self) -> Mapping[str, Any]:
        now = self._clock.now()
        found = await self._storage.read(lambda tx: tx.runs.queue(now), heavy=True)

        def waited(since: int | None) -> float | None:
            return None if since is None else (now - since) / SECOND

        return {
            "n_pending": found.pending,
            "n_running": found.running,
            "pending_runs_wait_time_max_secs": waited(found.oldest),
            "pending_runs_wait_time_med_secs": waited(found.median),
            "pending_unblocked_runs_wait_time_max_secs": waited(found.oldest_unblocked),
        }

    async def _all_reports(self, own: Report) -> Mapping[str, Report]:
        """Returns the metrics of this process and of those that share its port."""
        if self._peers is None:
            return {"": own}
        others = await self._peers.others()
        reports = {self._peers.name: own}
        for name, text in others.items():
            with contextlib.suppress(msgspec.DecodeError):  # the other process was killed while it responded
                reports[name] = msgspec.json.decode(text, type=Report)
        return reports

    async def _details(self, settings: Settings) -> Mapping[str, Any]:
        """Returns what Studio's server page shows: versions, storage, graphs, configuration, workers, recent failures."""
        return {
            "started_at": iso(self._began),
            "versions": _versions(),
            "storage": {
                "kind": "sqlite" if settings.postgres_uri is None else "postgres",
                "place": settings.where,
                "bytes": await self._storage.size(),
            },
            "graphs": [{"graph_id": name, "path": graph.path} for name, graph in settings.graphs.items()],
            "configuration": await asyncio.to_thread(_configuration, settings),
            "environment": _environment(settings.vars),
            "queue": await self._queue(),
            "workers": {"max": self._worker.jobs, "active": self._worker.active},
            "failures": logs.recent.lines(),
        }


def _versions() -> dict[str, str]:
    found = {"threadloom": threadloom.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _configuration(settings: Settings) -> Any:
    """Returns the configuration file without secrets; None if there is none, or it cannot be read any more."""
    if settings.path is None:
        return None
    try:
        return without_secrets(json.loads(settings.path.read_text("utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return None


def without_secrets(value: Any, key: str = "") -> Any:
    """Returns a JSON document in which values that may be secrets are hidden: all values of `env`, values of keys that sound like
    secrets, and user and password of addresses.
    """
    if isinstance(value, dict):
        if key == "env":
            return dict.fromkeys(value, HIDDEN)
        return {name: without_secrets(inner, name) for name, inner in value.items()}
    if _SECRET.search(key) and value not in (None, True, False):
        return HIDDEN
    if isinstance(value, list):
        return [without_secrets(inner, key) for inner in value]
    return _USER_OF_URI.sub(HIDDEN, value) if isinstance(value, str) else value


def _environment(variables: Environment) -> dict[str, Any]:
    """Returns the variables that differ from their defaults, without secrets."""
    defaults = Environment()
    set_ = {
        name.upper(): value
        for name, value in msgspec.structs.asdict(variables).items()
        if value != getattr(defaults, name)
    }
    found: dict[str, Any] = without_secrets(set_)
    return found
