"""OpenTelemetry: traces and metrics, sent to where the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT` …) say.

OpenTelemetry is imported only if one of these variables is set. Spans have ids, names and outcomes. They have no inputs, outputs,
headers, queries or texts of errors.
"""

import asyncio
import contextlib
import importlib
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from starlette.types import Scope

from threadloom import __version__
from threadloom import log as logs
from threadloom.api.http import RequestContext
from threadloom.clock import SECOND
from threadloom.engine.observe import NotifyEnd, RunEnd
from threadloom.errors import MissingPackageError
from threadloom.types import Run

log = logging.getLogger("threadloom.telemetry")

NAME = "threadloom"
ENDPOINTS = {
    "traces": ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    "metrics": ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
}
EXPORTERS = {"http/protobuf": "http", "grpc": "grpc"}
"""Maps each value of `OTEL_EXPORTER_OTLP_PROTOCOL` to the OpenTelemetry exporter that implements it."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper bounds of histograms."""

CLOSE_SECONDS = 3.0
"""Seconds for sending what is not sent yet when the server stops."""

Queue = Callable[[], Awaitable[Mapping[str, Any]]]
Workers = Callable[[], tuple[int, int]]


def load_telemetry(env: Mapping[str, str]) -> "Telemetry | None":
    """Returns the telemetry that the environment configures, or None. If it cannot be loaded, logs why and returns None."""
    wanted = {signal for signal, names in ENDPOINTS.items() if any(env.get(name) for name in names)}
    if not wanted or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    for signal in sorted(wanted):
        exporter = env.get(f"OTEL_{signal.upper()}_EXPORTER") or "otlp"
        if exporter != "otlp":
            wanted.discard(signal)
            if exporter != "none":
                log.warning("OTEL_%s_EXPORTER: %r is not known, no %s are sent", signal.upper(), exporter, signal)
    if not wanted:
        return None
    try:
        return Telemetry(wanted, env)
    except ImportError as error:
        missing = MissingPackageError("OTEL_EXPORTER_OTLP_ENDPOINT", error.name or str(error), "threadloom[otel]")
        log.warning("NO TRACES OR METRICS ARE SENT: %s, or set OTEL_SDK_DISABLED=true", missing)
        return None


class Telemetry:
    """Traces and metrics of one process.

    Args:
        signals: which of `traces` and `metrics` are sent.
        env: the environment variables. OpenTelemetry reads further variables from the process itself.

    Raises:
        ImportError: a package is missing.
    """

    def __init__(self, signals: Iterable[str], env: Mapping[str, str]) -> None:
        self._signals = frozenset(signals)
        self._trace: Any = importlib.import_module("opentelemetry.trace")
        self._context: Any = importlib.import_module("opentelemetry.context")
        self._propagation: Any = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        self._carrier = self._propagation.TraceContextTextMapPropagator()
        resource = _resource(env)
        self._tracers = _tracers(resource, env, "traces" in self._signals)
        self._meters, self._metrics = _meters(resource, env, "metrics" in self._signals)
        self._tracer = self._tracers.get_tracer(NAME, __version__)
        meter = self._meters.get_meter(NAME, __version__)
        more = {"unit": "s", "explicit_bucket_boundaries_advisory": SECONDS}
        self._requests = meter.create_histogram("http.server.request.duration", **more)
        self._run_seconds = meter.create_histogram("threadloom.run.duration", **more)
        self._run_waits = meter.create_histogram("threadloom.run.wait", **more)
        self._runs = meter.create_counter("threadloom.runs")
        self._meter = meter

    def offer(self) -> None:
        """Registers the tracer and meter providers for users' code, unless users' code has set up its own."""
        if type(self._trace.get_tracer_provider()).__name__ == "ProxyTracerProvider" and "traces" in self._signals:
            self._trace.set_tracer_provider(self._tracers)
        if type(self._metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider" and "metrics" in self._signals:
            self._metrics.set_meter_provider(self._meters)

    def start(self, queue: Queue, workers: Workers) -> None:
        """Starts to observe the queue and the worker periodically. Call it in the event loop that they belong to."""
        loop = asyncio.get_running_loop()
        observation = self._metrics.Observation

        def runs(_: Any) -> Iterable[Any]:
            # Runs on the exporter's thread. During shutdown the event loop may no longer respond.
            with contextlib.suppress(Exception):
                figures = asyncio.run_coroutine_threadsafe(_awaited(queue), loop).result(timeout=CLOSE_SECONDS)
                yield observation(figures["n_pending"], {"state": "pending"})
                yield observation(figures["n_running"], {"state": "running"})

        def places(_: Any) -> Iterable[Any]:
            most, active = workers()
            yield observation(most, {"state": "max"})
            yield observation(active, {"state": "active"})

        self._meter.create_observable_gauge("threadloom.queue.runs", callbacks=[runs], description="Runs not ended.")
        self._meter.create_observable_gauge("threadloom.workers", callbacks=[places], description="Runs at once.")

    async def stop(self) -> None:
        """Sends the remaining data, within a few seconds."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def end() -> None:
            for provider in (self._meters, self._tracers):
                with contextlib.suppress(Exception):
                    provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=end, name="threadloom-telemetry", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), CLOSE_SECONDS)

    # --- requests ---

    def begin(self, scope: Scope) -> "RequestSpan":
        """Starts the span of a request; see `api.app.Spans`."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _trace_headers(scope)}
        parent = self._carrier.extract(headers, context=self._context.get_current())
        method = scope.get("method", "WEBSOCKET")
        attributes = {
            "http.request.method": method,
            "url.path": quote(scope["path"]),
            "url.scheme": scope.get("scheme", "http"),
            "threadloom.request.id": scope["threadloom"].request_id,
        }
        span = self._tracer.start_span(method, parent, self._trace.SpanKind.SERVER, attributes)
        return RequestSpan(self, span, scope)

    def end(self, span: Any, scope: Scope, status: int, seconds: float) -> None:
        """Ends the span of a request after its response."""
        facts: RequestContext = scope["threadloom"]
        method = scope.get("method", "WEBSOCKET")
        route = {"http.route": facts.template} if facts.template else {}
        known = {f"threadloom.{name.removesuffix('_id')}.id": value for name, value in facts.ids.items()}
        if facts.caller.user_id:
            known["user.id"] = facts.caller.user_id
        span.set_attributes({**route, **known, **({"http.response.status_code": status} if status else {})})
        if facts.template:
            span.update_name(f"{method} {facts.template}")
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()
        if "method" in scope:
            measured = {"http.request.method": method, "http.response.status_code": status, **route}
            self._requests.record(seconds, measured)

    # --- runs ---

    def observe(self, run: Run) -> NotifyEnd:
        """Starts the span of an attempt; see `engine.observe.Observer`. The span belongs to the trace of the request that created
        the run.
        """
        parent = self._carrier.extract({"traceparent": run.kwargs.get("traceparent") or ""}, context={})
        attributes = {
            "threadloom.run.id": run.run_id,
            "threadloom.thread.id": run.thread_id,
            "threadloom.graph.id": run.graph_id,
            "threadloom.assistant.id": run.assistant_id,
            "threadloom.run.attempt": run.attempt,
            "gen_ai.conversation.id": run.thread_id,
        }
        if run.user_id:
            attributes["user.id"] = run.user_id
        span = self._tracer.start_span(f"run {run.graph_id}", parent, self._trace.SpanKind.INTERNAL, attributes)
        context = self._trace.set_span_in_context(span, self._context.get_current())
        token = self._context.attach(context)
        logs.bind(trace_id=_trace_id(span))
        if run.attempt == 1 and run.started_at is not None:
            self._run_waits.record((run.started_at - run.created_at) / SECOND, {"threadloom.graph.id": run.graph_id})

        def end(ending: RunEnd) -> None:
            self._context.detach(token)
            span.set_attribute("threadloom.run.status", ending.status)
            if ending.error:
                span.set_attribute("error.type", ending.error)
            if ending.status in ("error", "timeout", "lost"):
                span.set_status(self._trace.StatusCode.ERROR)
            span.end()
            measured = {"threadloom.graph.id": run.graph_id, "threadloom.run.status": ending.status}
            self._runs.add(1, measured)
            self._run_seconds.record(ending.seconds, measured)

        return end

    # --- for spans ---

    def entered(self, span: Any) -> Any:
        """Makes a span the current one. Returns a function that restores the previous one."""
        token = self._context.attach(self._trace.set_span_in_context(span, self._context.get_current()))
        return lambda: self._context.detach(token)

    def traceparent(self, span: Any) -> str:
        """Returns a span's context as the value of the W3C header `traceparent`."""
        written: dict[str, str] = {}
        self._carrier.inject(written, context=self._trace.set_span_in_context(span, {}))
        return written.get("traceparent", "")


class RequestSpan:
    """The span of a request; see `api.app.Span`."""

    def __init__(self, telemetry: Telemetry, span: Any, scope: Scope) -> None:
        self._telemetry = telemetry
        self._span = span
        self._scope = scope
        self._leave = telemetry.entered(span)
        self.trace_id = _trace_id(span)
        self.traceparent = telemetry.traceparent(span)

    def end(self, status: int, seconds: float) -> None:
        self._telemetry.end(self._span, self._scope, status, seconds)

    def leave(self) -> None:
        self._leave()


async def _awaited(queue: Queue) -> Mapping[str, Any]:
    return await queue()


def _trace_id(span: Any) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def _trace_headers(scope: Scope) -> Iterable[tuple[bytes, bytes]]:
    return (pair for pair in scope["headers"] if pair[0] in (b"traceparent", b"tracestate"))


def _resource(env: Mapping[str, str]) -> Any:
    """Returns the resource that describes this process."""
    attributes = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    if not env.get("OTEL_SERVICE_NAME") and "service.name=" not in env.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = NAME
    return importlib.import_module("opentelemetry.sdk.resources").Resource.create(attributes)


def _exporter(env: Mapping[str, str], signal: str, module: str, name: str) -> Any:
    protocol = (
        env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or env.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol not in EXPORTERS:
        known = ", ".join(EXPORTERS)
        log.warning("OTEL_EXPORTER_OTLP_PROTOCOL: %r is none of %s; http/protobuf is spoken", protocol, known)
        protocol = "http/protobuf"
    place = f"opentelemetry.exporter.otlp.proto.{EXPORTERS[protocol]}.{module}"
    return getattr(importlib.import_module(place), name)()


def _tracers(resource: Any, env: Mapping[str, str], sent: bool) -> Any:
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    tracers = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
    if sent:
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        exporter = _exporter(env, "traces", "trace_exporter", "OTLPSpanExporter")
        tracers.add_span_processor(export.BatchSpanProcessor(exporter))
    return tracers


def _meters(resource: Any, env: Mapping[str, str], sent: bool) -> tuple[Any, Any]:
    sdk = importlib.import_module("opentelemetry.sdk.metrics")
    readers = []
    if sent:
        export = importlib.import_module("opentelemetry.sdk.metrics.export")
        exporter = _exporter(env, "metrics", "metric_exporter", "OTLPMetricExporter")
        readers.append(export.PeriodicExportingMetricReader(exporter))
    meters = sdk.MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
    return meters, importlib.import_module("opentelemetry.metrics")
