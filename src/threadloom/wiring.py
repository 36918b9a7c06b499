"""Builds a server from settings: backends, services, app."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from threadloom.api import loopback
from threadloom.api.app import HttpEntry, create_app
from threadloom.api.encryption_context import EncryptionContextMiddleware
from threadloom.api.metrics import Metrics
from threadloom.api.peer_processes import PeerProcesses
from threadloom.api.reloadable_app import ReloadableApp
from threadloom.api.ui import UiRoutes
from threadloom.auth.authorize import OPEN, Guard
from threadloom.auth.load import load_access
from threadloom.auth.run_users import RunUsers
from threadloom.backends import CLOCK_NOTICED_SECONDS, choose
from threadloom.checkpointer import Saver
from threadloom.checkpointer.serde import make_serde
from threadloom.clock import Clock
from threadloom.config.settings import Settings
from threadloom.encryption.handler_storage import HandledStorage
from threadloom.encryption.keys import check_keys, keys_of
from threadloom.encryption.storage import SealedStorage
from threadloom.engine.events import EventIds
from threadloom.engine.observe import all_of, log_run
from threadloom.engine.outputs import RecentOutputs
from threadloom.engine.retention import Retention
from threadloom.engine.watchdog import Watchdog
from threadloom.engine.worker import Worker
from threadloom.graphs.bundles import Bundle, load_bundles
from threadloom.graphs.current_store import CurrentStore
from threadloom.graphs.custom_store import CustomStore
from threadloom.graphs.embeddings import load_index
from threadloom.graphs.encryption import load_handlers
from threadloom.graphs.load import load_app, load_object
from threadloom.graphs.priority import load_assign
from threadloom.graphs.process import app_folders, own_modules, prepare
from threadloom.graphs.registry import GraphRegistry
from threadloom.process_reports import ProcessReports
from threadloom.services import Services
from threadloom.services.assistants import AssistantService
from threadloom.services.branches import BranchService
from threadloom.services.cascade_delete import CascadeDeleteService
from threadloom.services.clock_steps import ClockSteps
from threadloom.services.copying import CopyService
from threadloom.services.crons import CronService, fire_forever
from threadloom.services.event_stream import EventStreamService
from threadloom.services.items import ItemService
from threadloom.services.limits import Limits
from threadloom.services.lineage import LineageService
from threadloom.services.protocol_commands import CommandService
from threadloom.services.queue import QueueService
from threadloom.services.repository import repository_services
from threadloom.services.run_outputs import RunOutputs
from threadloom.services.run_start import RunStartService
from threadloom.services.run_streams import RunStreamService
from threadloom.services.runs import RunService
from threadloom.services.state import StateService
from threadloom.services.state_update import StateWriter
from threadloom.services.thread_graph import ThreadGraphs
from threadloom.services.threads import ThreadService, configured_ttl
from threadloom.services.ttl import ThreadSweeper
from threadloom.services.verification import VerificationService
from threadloom.services.webhooks import DeliveryService, WebhookPolicy, WebhookSender
from threadloom.storage.base import Storage
from threadloom.store import Store
from threadloom.telemetry import load_telemetry

log = logging.getLogger("threadloom")

SWITCH_INTERVAL = 0.0005
"""Seconds after which Python lets another thread run. With the default (5 ms) the writer thread and the event loop wait for each
other much longer than either of them computes.
"""


YOUNG_OBJECTS = 10_000
"""New objects that start a garbage collection. With the default (700) the objects of a burst of runs would be scanned several
times while all of them are still in use.
"""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The part of the server that depends on users' code and configuration. A reload replaces it. Storage, queue and worker are
    not replaced.
    """

    settings: Settings
    graphs: GraphRegistry
    services: Services
    bundles: Mapping[str, Bundle]
    entry: HttpEntry


class Server:
    """One process with all its parts. Users' code is loaded; nothing is opened before the lifespan of `app`.

    Attributes:
        generation: the current generation.
        background: further work that is done from start to stop, such as detecting changed code.
        reload: what `/info` shows about reloading; None: the app's code is not watched.
        began: when loading users' code began, in seconds since 1970.
        lasting: modules of users that no reload loads again, because the parts that outlive a generation use them.

    Args:
        clock: None: the clock that the settings choose.
        grace: seconds that runs get to end when the server stops; None: as the settings say.
        peers: the other processes that share its port, if there are any.

    Raises:
        ConfigError: a graph, the custom app, the auth object or the embedding model cannot be loaded.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        grace: float | None = None,
        peers: PeerProcesses | None = None,
    ) -> None:
        # The backends, and the environment in which users' code is loaded below.
        backends = choose(settings)
        clock = clock or backends.clock
        self.clock = clock
        self.settings = settings
        self.background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.reload: Mapping[str, Any] | None = None
        self.began = time.time()
        self.grace = settings.vars.bg_job_shutdown_grace_period_secs if grace is None else grace
        self._stops_at: float | None = None
        loopback.install()
        prepare(settings)
        self.telemetry = load_telemetry(os.environ)

        # What all generations share: the storage, then everything that works on it outside of requests.
        self.keys = keys_of(settings)
        self.handlers = load_handlers(self.settings)
        self.storage = self._sealed(backends.storage)
        self.broker, self._single_process = backends.broker, backends.single_process
        self._backends = backends
        self.saver = Saver(self.storage, serde=make_serde(settings.checkpointer.serde))
        self.saver.branching.isolates = settings.threadloom.isolate_forks
        self.store = self._make_store(clock)
        self._numbers = EventIds(clock)
        self._metrics = Metrics()
        self._peers = peers
        self._users = RunUsers(self.broker)
        self.limits = Limits(settings.threadloom.limits, per_user=settings.auth is not None)
        self.webhooks = WebhookSender(
            settings, self.storage, clock, single_process=self._single_process, app=lambda: self.app
        )
        self._outputs = RecentOutputs()
        self.worker = self._make_worker()
        self.sweeper = ThreadSweeper(
            storage=self.storage, clock=clock, settings=settings.checkpointer.ttl, gone=self.broker.gone
        )
        self.retention = Retention(storage=self.storage, clock=clock, runs_days=settings.threadloom.retention.runs_days)
        self.steps = ClockSteps(
            storage=self.storage,
            clock=clock,
            crons=lambda: self.generation.services.crons,
            webhooks=self.webhooks,
            wake=self.broker.wake,
            patience=0.0 if self._single_process else CLOCK_NOTICED_SECONDS,
        )
        self.watchdog = Watchdog()
        self._reports = ProcessReports(
            settings=settings,
            storage=self.storage,
            broker=None if self._single_process else self.broker,
            worker=self.worker,
            clock=clock,
            metrics=self._metrics,
            peers=peers,
            stopping=lambda: self._stops_at is not None,
            reload=lambda: self.reload,
        )
        self.lasting = own_modules(app_folders(settings))

        # The generation, and last the app. The webhooks and the graphs get the app when they need it.
        self.generation: Generation = self.generate(settings)
        if self.telemetry is not None:
            self.telemetry.offer()
        self.app: ReloadableApp = ReloadableApp(self.generation.entry, self.live)

    def _make_worker(self) -> Worker:
        settings, variables = self.settings, self.settings.vars
        return Worker(
            storage=self.storage,
            broker=self.broker,
            graphs=lambda: self.generation.graphs,
            users=self._users,
            clock=self.clock,
            numbers=self._numbers,
            jobs=settings.jobs,
            attempts=variables.bg_job_max_retries,
            timeout=variables.bg_job_timeout_secs,
            keep=settings.events_seconds,
            log_size=variables.lsd_protocol_v2_buffer_size,
            replay_bytes=settings.threadloom.limits.replay_bytes,
            event_size=variables.max_stream_chunk_size_bytes,
            isolated=variables.bg_job_isolated_loops,
            single_process=self._single_process,
            lease=settings.threadloom.lease_seconds,
            outputs=self._outputs,
            delivery=self.webhooks.made,
            after_run=self.webhooks.after_run,
            observer=all_of([log_run, self._metrics.observe, *([self.telemetry.observe] if self.telemetry else [])]),
        )

    def generate(self, settings: Settings) -> Generation:
        """Loads users' code and builds everything that depends on it, without serving it.

        Raises:
            ConfigError: a graph, the custom app or a UI bundle cannot be loaded.
        """
        graphs = GraphRegistry(settings, self.saver, self.store)
        access = load_access(settings, self.clock)
        if access is not None:
            access.authorizer.warn()
        services = self._make_services(settings, graphs, OPEN if access is None else access.authorizer)
        bundles = load_bundles(settings)
        entry = create_app(
            services,
            settings,
            user_app=load_app(settings) if settings.http.app else None,
            process_info=self._reports.info(settings),
            metrics=self._metrics,
            spans=self.telemetry,
            own_context=CurrentStore(self.store),
            authenticator=None if access is None else access.authenticator,
            encryption_context=None if self.handlers is None else EncryptionContextMiddleware(self.handlers),
            extra=UiRoutes(bundles, settings.http.mount_prefix).operations(),
        )
        return Generation(settings=settings, graphs=graphs, services=services, bundles=bundles, entry=entry)

    async def change(self, generation: Generation) -> None:
        """Serves another generation from now on. Current requests and runs end on the generation that they began with.

        Raises:
            Exception: the lifespan of the custom app raised. Then nothing has changed.
        """
        before = self.generation
        await generation.services.assistants.ensure_defaults()
        await self.app.change(generation.entry, lambda: self.worker.needs(before.graphs))
        self.generation = generation
        self.webhooks.apply_settings(generation.settings)
        limits = generation.settings.threadloom.limits
        self.limits.apply_settings(limits, per_user=generation.settings.auth is not None)
        self.broker.reader_bytes, self.worker.replay_bytes = limits.reader_bytes, limits.replay_bytes
        gc.unfreeze()
        _set_apart()

    def _sealed(self, storage: Storage) -> Storage:
        """Returns the storage with the encryption of the settings. With a key, handlers' output is encrypted too."""
        if self.keys.key is not None:
            storage = SealedStorage(storage, self.keys.cipher())
        return storage if self.handlers is None else HandledStorage(storage, self.handlers)

    def _make_store(self, clock: Clock) -> Store | CustomStore:
        block = self.settings.store

        def load(spec: str) -> Any:
            return load_object(spec, self.settings)

        if block.path is not None:
            return CustomStore(block.path, load)
        index = load_index(block.index, load) if block.index else None
        return Store(
            self.storage,
            clock,
            index=index,
            default_ttl=block.ttl.default_ttl,
            refresh_on_read=block.ttl.refresh_on_read,
        )

    def _make_services(self, settings: Settings, graphs: GraphRegistry, guard: Guard) -> Services:
        """Builds the services, each from those above it: runs are stopped by `RunService`, threads deleted by `ThreadService`,
        assistants resolved by `AssistantService`, runs started by `RunStartService`.
        """
        storage, broker, clock, numbers = self.storage, self.broker, self.clock, self._numbers
        ttl = settings.checkpointer.ttl
        runs = RunService(
            storage=storage,
            guard=guard,
            users=self._users,
            broker=broker,
            clock=clock,
            numbers=numbers,
            graphs=graphs,
            keep=settings.events_seconds,
        )
        thread_graphs = ThreadGraphs(storage=storage, graphs=graphs)
        writer = StateWriter(storage=storage, clock=clock, graphs=thread_graphs, locks=self._backends.locks)
        threads = ThreadService(
            storage=storage,
            guard=guard,
            clock=clock,
            ttl=ttl,
            supersteps=writer.supersteps,
            stop_runs=runs.stop_thread,
            gone=broker.gone,
        )
        assistants = AssistantService(storage, guard, clock, graphs, threads.delete)
        starts = RunStartService(
            storage=storage,
            guard=guard,
            users=self._users,
            broker=broker,
            clock=clock,
            numbers=numbers,
            assistants=assistants,
            webhooks=WebhookPolicy(settings.webhooks),
            starter=self.worker,
            limits=self.limits,
            keep=settings.events_seconds,
            assign=load_assign(settings),
            asks_for_threads=settings.threadloom.auth.implicit_threads == "create",
            new_ttl=lambda now: configured_ttl(ttl, now),
        )
        state = StateService(
            storage=storage,
            guard=guard,
            broker=broker,
            numbers=numbers,
            graphs=thread_graphs,
            writer=writer,
            tell_thread=settings.threadloom.checkpoint_thread_id,
        )
        return Services(
            threads=threads,
            branches=BranchService(storage=storage, guard=guard),
            copying=CopyService(
                storage=storage,
                guard=guard,
                clock=clock,
                graphs=thread_graphs,
                saver=self.saver,
                assistants=assistants,
                ttl=ttl,
            ),
            cascade_delete=CascadeDeleteService(
                storage=storage, guard=guard, clock=clock, stop_runs=runs.stop_thread, gone=broker.gone
            ),
            lineage=LineageService(storage=storage, guard=guard, state=state),
            verification=VerificationService(storage=storage, guard=guard),
            repository=repository_services(storage, guard, clock, thread_graphs, state),
            state=state,
            runs=runs,
            starts=starts,
            streams=RunStreamService(
                storage=storage,
                guard=guard,
                broker=broker,
                numbers=numbers,
                starts=starts,
                runs=runs,
                outputs=RunOutputs(storage=storage, graphs=thread_graphs, recent=self._outputs),
                limits=self.limits,
                end_event=settings.threadloom.end_event,
            ),
            queue=QueueService(storage=storage, guard=guard, clock=clock, attempts=settings.vars.bg_job_max_retries),
            assistants=assistants,
            items=ItemService(self.store, guard),
            crons=CronService(storage, guard, clock, starts, assistants),
            events=EventStreamService(storage=storage, guard=guard, broker=broker, limits=self.limits),
            deliveries=DeliveryService(storage=storage, guard=guard, clock=clock, webhooks=self.webhooks),
            commands=CommandService(storage=storage, guard=guard, starts=starts, assistants=assistants, state=state),
        )

    def ready(self) -> None:
        """Called on the event loop when the server accepts requests."""
        self.watchdog.start()

    def drain(self) -> None:
        """Called when the process was told to stop. It claims no more runs, and `/ok` responds that it stops."""
        if self._stops_at is None:
            self._stops_at = time.monotonic() + self.grace
            self.worker.drain()

    def leave(self) -> None:
        """Called when no more requests are accepted. Ends the responses that would not end by themselves."""
        self.app.leave()

    async def _stop_worker(self) -> None:
        self.drain()
        assert self._stops_at is not None
        await self.worker.stop(max(0.0, self._stops_at - time.monotonic()))

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Runs everything that works outside of requests, from start to stop."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        await self.storage.open()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.storage.close)
            await check_keys(self.storage, self.keys)
            for lifespan in self._backends.lifespans:
                await stack.enter_async_context(lifespan())
            await self.broker.open()
            stack.push_async_callback(self.broker.close)
            await stack.enter_async_context(self.store)
            await self.generation.services.assistants.ensure_defaults()
            await stack.enter_async_context(self.webhooks)
            if self.telemetry is not None:
                process_info = self._reports.info(self.settings)
                self.telemetry.start(process_info.queue, process_info.workers)
                stack.push_async_callback(self.telemetry.stop)
            stack.callback(self.watchdog.stop)
            if self._peers is not None:
                await stack.enter_async_context(self._peers.answering(self._reports.for_peers))
            await self.worker.start()
            stack.push_async_callback(self._stop_worker)
            for background in self._background():
                task = asyncio.create_task(background)
                stack.push_async_callback(_ended, task)
            gc.set_threshold(YOUNG_OBJECTS)
            _set_apart()
            stack.callback(gc.unfreeze)
            yield

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        tasks = [
            self.steps.run(),
            self.sweeper.run(),
            self.retention.run(),
            self.webhooks.run(),
            fire_forever(lambda: self.generation.services.crons, self.clock, self.settings.vars),
            *(work() for work in self.background),
        ]
        minutes = self.settings.store.ttl.sweep_interval_minutes
        if isinstance(self.store, Store):
            tasks.append(self.store.warm())
            if minutes is not None:
                tasks.append(self.store.sweep_forever(minutes))
        return tasks


def _set_apart() -> None:
    """Excludes the objects that exist now from all later garbage collections. Scanning modules and graphs, which are never freed,
    would block all threads for a tenth of a second each time.
    """
    gc.collect()
    gc.freeze()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


__all__ = ["Generation", "Server"]
