"""Settings -> parts -> app. The only place that chooses between implementations."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any

from starlette.applications import Starlette

from threadloom.api import loopback
from threadloom.api.app import create_app
from threadloom.api.parts import Backstage
from threadloom.broker.base import Broker
from threadloom.broker.local import LocalBroker
from threadloom.checkpointer import Saver
from threadloom.clock import SECOND, Clock, SystemClock
from threadloom.config.settings import Settings
from threadloom.engine.events import Numbers
from threadloom.engine.retention import Retention
from threadloom.engine.watchdog import Watchdog
from threadloom.engine.worker import Worker
from threadloom.errors import ConfigError
from threadloom.graphs.current_store import CurrentStore
from threadloom.graphs.embeddings import load_index
from threadloom.graphs.load import load_object
from threadloom.graphs.own_store import OwnStore
from threadloom.graphs.registry import Graphs
from threadloom.services import Services
from threadloom.services.assistants import AssistantService
from threadloom.services.copying import CopyService
from threadloom.services.crons import CronService
from threadloom.services.event_stream import EventStreamService
from threadloom.services.items import ItemService
from threadloom.services.protocol_commands import CommandService
from threadloom.services.run_streams import RunStreamService
from threadloom.services.runs import RunService
from threadloom.services.state import StateService
from threadloom.services.state_update import LocalLocks, StateWriter
from threadloom.services.thread_graph import ThreadGraphs
from threadloom.services.threads import ThreadService
from threadloom.services.ttl import ThreadSweeper
from threadloom.services.webhooks import WebhookPolicy, Webhooks
from threadloom.storage.base import Storage
from threadloom.storage.sqlite import SqliteStorage
from threadloom.store import Store

log = logging.getLogger("threadloom")

SWITCH_INTERVAL = 0.0005
"""Seconds after which Python lets another thread go on. The default (5 ms) makes the writer and the event loop wait for each
other far longer than either has to do."""


def build(settings: Settings, *, clock: Clock | None = None, grace: float | None = None) -> Any:
    """Loads the user's code and puts the server together; nothing is opened before the app's lifespan.

    Args:
        grace: seconds that runs get to end when the server stops; None is what the environment says.

    Raises:
        ConfigError: a graph, the own app or the embedding model cannot be loaded.
    """
    return Server(settings, clock or SystemClock(), grace).app


class Server:
    """One process with all its parts."""

    def __init__(self, settings: Settings, clock: Clock, grace: float | None) -> None:
        self.settings = settings
        variables = settings.vars
        self.grace = variables.bg_job_shutdown_grace_period_secs if grace is None else grace
        loopback.install()

        self.storage: Storage = SqliteStorage(settings.data, synchronous=settings.threadloom.synchronous)
        self.broker: Broker = LocalBroker()
        self.saver = Saver(self.storage)
        self.store = self._make_store(clock)
        self.graphs = Graphs(settings, self.saver, self.store)
        user_app = self._load_app()

        numbers = Numbers(clock)
        self.webhooks = Webhooks(settings, clock)
        self.worker = Worker(
            storage=self.storage,
            broker=self.broker,
            graphs=self.graphs,
            clock=clock,
            numbers=numbers,
            jobs=settings.jobs,
            attempts=variables.bg_job_max_retries,
            timeout=variables.bg_job_timeout_secs,
            keep=settings.events_seconds,
            log_size=variables.lsd_protocol_v2_buffer_size,
            isolated=variables.bg_job_isolated_loops,
            after_run=self.webhooks.after_run,
        )
        self.services = self._make_services(clock, numbers)
        self.sweeper = ThreadSweeper(storage=self.storage, clock=clock, settings=settings.checkpointer.ttl)
        self.retention = Retention(storage=self.storage, clock=clock, runs_days=settings.threadloom.retention.runs_days)
        self.watchdog = Watchdog()
        self.app = create_app(
            self.services,
            settings,
            lifespan=self.live,
            user_app=user_app,
            backstage=self._make_backstage(clock),
            own_context=CurrentStore(self.store),
        )
        self.webhooks.app = self.app

    def _load_app(self) -> Starlette | None:
        """The app of `http.app`.

        Raises:
            ConfigError: it cannot be loaded, or is no Starlette or FastAPI app.
        """
        spec = self.settings.http.app
        if spec is None:
            return None
        app = load_object(spec, self.settings)
        if not isinstance(app, Starlette):
            raise ConfigError(f"http.app: {spec!r} is a {type(app).__name__}, not a Starlette or FastAPI app")
        return app

    def _make_store(self, clock: Clock) -> Store | OwnStore:
        block = self.settings.store

        def load(spec: str) -> Any:
            return load_object(spec, self.settings)

        if block.path is not None:
            return OwnStore(block.path, load)
        index = load_index(block.index, load) if block.index else None
        return Store(
            self.storage,
            clock,
            index=index,
            default_ttl=block.ttl.default_ttl,
            refresh_on_read=block.ttl.refresh_on_read,
        )

    def _make_services(self, clock: Clock, numbers: Numbers) -> Services:
        storage, broker = self.storage, self.broker
        assistants = AssistantService(storage, clock, self.graphs)
        runs = RunService(
            storage=storage,
            broker=broker,
            clock=clock,
            numbers=numbers,
            graphs=self.graphs,
            assistants=assistants,
            webhooks=WebhookPolicy(self.settings.webhooks),
            starter=self.worker,
        )
        thread_graphs = ThreadGraphs(storage=storage, graphs=self.graphs)
        writer = StateWriter(storage=storage, clock=clock, graphs=thread_graphs, locks=LocalLocks())
        threads = ThreadService(
            storage=storage,
            clock=clock,
            ttl=self.settings.checkpointer.ttl,
            supersteps=writer.supersteps,
            stop_runs=runs.stop_thread,
        )
        assistants.delete_thread = threads.delete
        state = StateService(
            storage=storage,
            broker=broker,
            numbers=numbers,
            graphs=thread_graphs,
            writer=writer,
            tell_thread=self.settings.threadloom.checkpoint_thread_id,
        )
        return Services(
            threads=threads,
            copying=CopyService(storage=storage, clock=clock, graphs=thread_graphs),
            state=state,
            runs=runs,
            streams=RunStreamService(storage=storage, broker=broker, runs=runs),
            assistants=assistants,
            items=ItemService(self.store),
            crons=CronService(storage, clock, runs, assistants, self.settings.vars),
            events=EventStreamService(storage=storage, broker=broker),
            commands=CommandService(storage=storage, runs=runs, assistants=assistants, state=state),
        )

    def _make_backstage(self, clock: Clock) -> Backstage:
        storage, worker = self.storage, self.worker

        async def probe() -> object:
            return await storage.read(lambda tx: tx.runs.claimable(0))

        async def queue() -> Mapping[str, Any]:
            active = await storage.read(lambda tx: tx.runs.queue())
            now = clock.now()
            waits = sorted((now - made) / SECOND for status, made in active if status == "pending")
            return {
                "n_pending": len(waits),
                "n_running": len(active) - len(waits),
                "pending_runs_wait_time_max_secs": waits[-1] if waits else None,
                "pending_runs_wait_time_med_secs": waits[len(waits) // 2] if waits else None,
                "pending_unblocked_runs_wait_time_max_secs": waits[-1] if waits else None,
            }

        return Backstage(
            probes={"database": probe}, queue=queue, workers=lambda: (worker.jobs, worker.active), flags={}
        )

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Everything that runs beside the requests, from start to stop."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        await self.storage.open()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.storage.close)
            await self.broker.open()
            stack.push_async_callback(self.broker.close)
            await stack.enter_async_context(self.store)
            await self.services.assistants.ensure_defaults()
            await stack.enter_async_context(self.webhooks)
            self.watchdog.start()
            stack.callback(self.watchdog.stop)
            await self.worker.start()
            stack.push_async_callback(self.worker.stop, self.grace)
            for background in self._background():
                task = asyncio.create_task(background)
                stack.push_async_callback(_ended, task)
            yield

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        tasks = [self.sweeper.run(), self.retention.run(), self.services.crons.run_forever()]
        minutes = self.settings.store.ttl.sweep_interval_minutes
        if minutes is not None and isinstance(self.store, Store):
            tasks.append(self.store.sweep_forever(minutes))
        return tasks


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


__all__ = ["Server", "build"]
