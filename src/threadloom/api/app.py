"""The whole HTTP app: routes, custom app, CORS, request ids, metrics."""

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threadloom import log as logs
from threadloom.api import openapi
from threadloom.api.a2a import A2aRoutes
from threadloom.api.access import AccessLog
from threadloom.api.allowed_hosts import AllowedHosts, misdirected
from threadloom.api.allowed_origins import EXPOSED, AllowedOrigins
from threadloom.api.assistants import AssistantRoutes
from threadloom.api.auth_middleware import Authenticator, AuthMiddleware
from threadloom.api.channel_events import ChannelEventRoutes
from threadloom.api.channel_socket import ChannelSockets
from threadloom.api.crons import CronRoutes
from threadloom.api.custom_app import CustomApp, CustomAppContext, custom_cors
from threadloom.api.dispatch import Dispatcher
from threadloom.api.encryption_context import EncryptionContextMiddleware
from threadloom.api.errors import log_bug, response_to_bug
from threadloom.api.http import ClientDisconnected, RequestContext, Response, Span, deny, error_body
from threadloom.api.layers import face, layered, outside
from threadloom.api.lineage import LineageRoutes
from threadloom.api.loopback import TRUSTED
from threadloom.api.mcp import McpRoutes
from threadloom.api.metrics import Metrics
from threadloom.api.process_info import ProcessInfo
from threadloom.api.queue import QueueRoutes
from threadloom.api.repository import RepositoryRoutes
from threadloom.api.routing import Operation
from threadloom.api.runs import RunRoutes
from threadloom.api.sse import HEARTBEAT_SECONDS
from threadloom.api.state import StateRoutes
from threadloom.api.stateless_runs import StatelessRunRoutes
from threadloom.api.store import StoreRoutes
from threadloom.api.studio import TAG, StudioRoutes
from threadloom.api.system import AT_THE_ROOT, SystemRoutes
from threadloom.api.threads import ThreadRoutes
from threadloom.api.webhooks import WebhookRoutes
from threadloom.config.settings import HttpSettings, Settings
from threadloom.ids import new_id
from threadloom.services import Services
from threadloom.usercode import contained

_PAGE_HEADERS = frozenset(name.encode() for name in EXPOSED[:4])


class Spans(Protocol):
    """Makes the spans of requests (see `telemetry`)."""

    def begin(self, scope: Scope) -> Span:
        """Begins the span of a request. It is the current span of this task until `leave` is called."""
        ...


log = logging.getLogger("threadloom.api")


def api_operations(services: Services, heartbeat: float = HEARTBEAT_SECONDS) -> list[Operation]:
    """Returns all routes except the system routes."""
    return [
        *AssistantRoutes(services).operations(),
        *ThreadRoutes(services).operations(),
        *LineageRoutes(services).operations(),
        *StateRoutes(services).operations(),
        *RepositoryRoutes(services).operations(),
        *RunRoutes(services, heartbeat).operations(),
        *StatelessRunRoutes(services, heartbeat).operations(),
        *QueueRoutes(services).operations(),
        *CronRoutes(services).operations(),
        *StoreRoutes(services).operations(),
        *WebhookRoutes(services).operations(),
        *McpRoutes(services, heartbeat).operations(),
        *A2aRoutes(services, heartbeat).operations(),
        *ChannelEventRoutes(services, heartbeat).operations(),
    ]


def create_app(
    services: Services,
    settings: Settings,
    *,
    user_app: Starlette | None = None,
    process_info: ProcessInfo | None = None,
    metrics: Metrics | None = None,
    spans: Spans | None = None,
    own_context: CustomAppContext | None = None,
    authenticator: Authenticator | None = None,
    encryption_context: EncryptionContextMiddleware | None = None,
    extra: Sequence[Operation] = (),
    heartbeat: float = HEARTBEAT_SECONDS,
) -> "HttpEntry":
    """Assembles the HTTP app.

    Args:
        services: called by the routes.
        user_app: the custom app (`http.app`).
        process_info: what the system routes report of the process.
        metrics: counts the requests.
        spans: makes the spans of requests.
        own_context: makes the server's store current in custom routes.
        authenticator: authenticates requests; None: no authentication.
        encryption_context: sets the encryption context of requests; None: there are no encryption handlers.
        extra: routes of other parts (other protocols).
        heartbeat: seconds of silence after which a streaming response sends a heartbeat.
    """
    http = settings.http
    metrics = metrics or Metrics()
    operations: list[Operation] = []
    own: CustomApp | None = None

    def describe() -> dict[str, Any]:
        auth = settings.auth.openapi if settings.auth else None
        return openapi.document(operations, own=own.description if own else None, auth=auth)

    system = SystemRoutes(settings, process_info or ProcessInfo(), metrics, describe)
    operations += [
        operation
        for operation in (
            *system.operations(),
            *api_operations(services, heartbeat),
            *(StudioRoutes().operations() if settings.serves_studio else ()),
            *extra,
        )
        if not (operation.group and is_disabled(http, operation.group))
    ]
    limits: dict[str, Any] = {
        "headers": http.configurable_headers,
        "max_body": settings.vars.http_max_request_body_bytes,
    }
    plain = Dispatcher(operations, **limits)

    def path_params(scope: Scope) -> dict[str, str]:
        if own is not None and own.takes(scope):
            return own.params(scope)
        found = plain.find(scope)
        return {} if found is None else found[1]

    def bundled(scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or (own is not None and own.takes(scope)):
            return False
        found = plain.find(scope)
        return found is not None and (found[0].group == "ui" or found[0].tag == TAG)

    gate = None
    if authenticator is not None:
        gate = AuthMiddleware(
            authenticator,
            path_params=path_params,
            bundled=bundled,
            max_body=settings.vars.http_max_request_body_bytes,
            studio=_lets_studio_in(settings),
            encryption_context=encryption_context,
        )
    if user_app is not None:
        own = CustomApp(user_app, Dispatcher(operations, inside_own_app=True, **limits), own_context, gate)
    sockets = None
    if not is_disabled(http, "event_streaming"):
        sockets = ChannelSockets(services, http, settings.vars.http_max_request_body_bytes)
    return HttpEntry(
        app=face(plain, own, gate, encryption_context, http),
        plain=plain,
        http=http,
        metrics=metrics,
        user_app=user_app,
        sockets=sockets,
        gated=None if sockets is None else layered(sockets, outside(gate, encryption_context)),
        hosts=AllowedHosts.of(settings),
        spans=spans,
        origins=AllowedOrigins.of(settings),
    )


def _lets_studio_in(settings: Settings) -> bool:
    return settings.vars.threadloom_studio_auth and not (settings.auth and settings.auth.disable_studio_auth)


def is_disabled(http: HttpSettings, group: str) -> bool:
    """Returns whether a group of routes is disabled. Event streaming is disabled together with the runs."""
    if group == "event_streaming" and http.disable_runs:
        return True
    return bool(getattr(http, f"disable_{group}"))


class HttpEntry:
    """The outermost layer, which every request passes first (see `layers`): mount prefix, CORS, request ids, metrics, and the
    response to errors that nothing else handled.

    Args:
        app: serves the requests below the mount prefix.
        plain: the server's routes alone; serves requests at the root, outside the mount prefix.
        http: the block `http` of the settings.
        metrics: counts the requests.
        user_app: the custom app (`http.app`).
        sockets: the server's web sockets.
        gated: the same, behind authentication.
        hosts: checks the host names of external requests; None: any name is accepted.
        spans: makes the spans of requests.
        origins: checks the origins of requests; None: as the block `http` says.

    Attributes:
        prefix: the mount prefix.
        user_app: the custom app (`http.app`).
        state: the state from the custom app's lifespan, for its requests.
    """

    def __init__(
        self,
        *,
        app: ASGIApp,
        plain: ASGIApp,
        http: HttpSettings,
        metrics: Metrics,
        user_app: Starlette | None = None,
        sockets: ChannelSockets | None = None,
        gated: ASGIApp | None = None,
        hosts: AllowedHosts | None = None,
        spans: Spans | None = None,
        origins: AllowedOrigins | None = None,
    ) -> None:
        self._spans = spans
        self._hosts = hosts
        self._sockets = sockets
        self._gated_sockets = gated
        self._raw = app
        self._plain = plain
        self.prefix = http.mount_prefix
        self.user_app = user_app
        self._metrics = metrics
        self._access = AccessLog(http.logging_headers)
        self.state: dict[str, Any] = {}
        brought = None if user_app is None else custom_cors(user_app)
        self._own_cors = http.cors_configured or brought is not None
        self._origins = origins or AllowedOrigins(http)
        self._app = self._origins.around(app, brought)
        if brought is not None and http.cors_configured:
            log.warning("http.cors has no effect: the app of http.app has a CORSMiddleware of its own")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request or a web socket. Log records in the meantime carry the request's id."""
        if self.state:
            scope["state"] = {**scope.get("state", {}), **self.state}
        request_id, origin = _request_id_of(scope)
        request_context = RequestContext(request_id, bool(scope.pop(TRUSTED, False)))
        scope["threadloom"] = request_context
        bound = logs.bind(request_id=request_id)
        try:
            if self._spans is None:
                await self._serve(scope, receive, send, request_context, origin)
            else:
                await self._trace(self._spans, scope, receive, send, request_context, origin)
        finally:
            logs.unbind(bound)

    async def _trace(
        self,
        spans: Spans,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_context: RequestContext,
        origin: bytes | None,
    ) -> None:
        """Serves a request within a span."""
        span = request_context.span = spans.begin(scope)
        request_context.caller = msgspec.structs.replace(request_context.caller, trace=span.traceparent)
        logs.bind(trace_id=span.trace_id)
        began = time.perf_counter()
        try:
            await self._serve(scope, receive, send, request_context, origin)
        finally:
            if scope["type"] == "websocket":
                span.end(0, time.perf_counter() - began)
            span.leave()

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, request_context: RequestContext, origin: bytes | None
    ) -> None:
        request_id = request_context.request_id
        if self._hosts is None or request_context.trusted or self._hosts.pass_(scope["headers"]):
            refused = None if origin is None or request_context.trusted else self._origins.refusal(scope, origin)
            app = refused or self._below(scope, origin)
        else:
            refused, app = None, misdirected
        if scope["type"] == "websocket":
            if refused is None:
                await app(scope, receive, send)
            else:
                await deny(refused, scope, receive, send)
            return
        began = time.perf_counter()
        status = 0
        ended = False
        # Without an origin, the CORS layer would only add this header.
        added = (
            [(b"x-request-id", request_id.encode())]
            if origin is not None and refused is None
            else [(b"vary", b"Origin"), (b"x-request-id", request_id.encode())]
        )

        async def answered(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), *added]
                message["headers"] = _with_page_headers(headers) if origin is not None and self._own_cors else headers
            elif not message.get("more_body"):
                # Counted before it is sent, so that the client's next request for the metrics includes this request.
                ended = True
                self._note(scope, status, began)
            await send(message)

        try:
            with contained():  # the custom app's routes and middleware run in it
                await app(scope, receive, answered)
        except (ClientDisconnected, ClientDisconnect):
            pass
        except Exception as error:
            log_bug(scope, error)
            if not status:
                await response_to_bug(request_id)(scope, receive, answered)
            elif not ended:
                raise
        finally:
            if not ended:
                self._note(scope, status, began)

    def _note(self, scope: Scope, status: int, began: float) -> None:
        request_context: RequestContext = scope["threadloom"]
        request_context.template = request_context.template or getattr(scope.get("route"), "path", "")
        seconds = time.perf_counter() - began
        self._metrics.note(scope["method"], request_context.template, status, seconds)
        self._access.note(scope, status, seconds)
        if request_context.span is not None:
            request_context.span.end(status, seconds)

    def _below(self, scope: Scope, origin: bytes | None) -> ASGIApp:
        """Returns the app for a request: below the mount prefix the whole app (with CORS); at the root only a few of the server's
        routes.
        """
        prefix = self.prefix
        if prefix:
            path: str = scope["path"]
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                scope["root_path"] = prefix
            elif scope["type"] == "http" and path in AT_THE_ROOT:
                return self._plain
            else:
                return _nowhere
        if scope["type"] == "websocket":
            if self._sockets is not None and self._gated_sockets is not None and self._sockets.knows(scope):
                return self._gated_sockets
            return self._raw if self.user_app is not None else _nowhere
        return self._raw if origin is None else self._app

    @asynccontextmanager
    async def own_lifespan(self) -> AsyncIterator[None]:
        """The lifespan of the custom app, if there is one. Requests find its state in theirs."""
        if self.user_app is None:
            yield
            return
        async with self.user_app.router.lifespan_context(self.user_app) as state:
            self.state = dict(state or {})
            yield


def _request_id_of(scope: Scope) -> tuple[str, bytes | None]:
    """Returns the request's id and its origin (None if it has none). The id is the caller's if that is a short printable text,
    else a new one.
    """
    request_id = ""
    origin: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"origin":
            origin = value if origin is None else origin + b", " + value
        elif name == b"x-request-id":
            text: str = value.decode("latin-1")
            if len(text) <= 200 and text.isascii() and text.isprintable():
                request_id = text
    return request_id or new_id(), origin


def _with_page_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Exposes the pagination and run headers that are present, in addition to those that the configuration exposes."""
    names = {name.lower() for name, _ in headers}
    present = sorted(names & _PAGE_HEADERS)
    if not present or b"access-control-allow-origin" not in names:
        return headers
    exposed = [value for name, value in headers if name.lower() == b"access-control-expose-headers"]
    kept = [(name, value) for name, value in headers if name.lower() != b"access-control-expose-headers"]
    return [*kept, (b"access-control-expose-headers", b", ".join([*exposed, *present]))]


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    await Response(error_body("Not Found"), 404)(scope, receive, send)
