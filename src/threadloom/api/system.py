"""Routes about the server itself: health, versions, metrics, its OpenAPI description."""

import asyncio
import importlib.metadata
import logging
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import ASGIApp, Scope

import threadloom
from threadloom.api.describe import page
from threadloom.api.http import Request, Response, json_response
from threadloom.api.metrics import AllProcesses, Metrics, added_up, exposition, of_queue
from threadloom.api.process_info import ProcessInfo
from threadloom.api.routing import Operation, Param
from threadloom.api.studio import page_from_root
from threadloom.config.settings import Settings
from threadloom.errors import Unavailable
from threadloom.services.responses import HealthResponse, InfoResponse, ServerResponse

log = logging.getLogger(__name__)

ALWAYS_OURS = frozenset({"/ok", "/metrics", "/docs", "/openapi.json"})
"""Paths that a custom app cannot override."""

JSON_FIGURES: dict[int, dict[str, dict[str, Any]]] = {
    200: {"application/json": {"type": "object"}, "application/openmetrics-text": {"type": "string"}}
}

OFFLINE = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content security policy of the documentation page, which loads no other resource."""

AT_THE_ROOT = frozenset({"/", "/ok", "/live", "/metrics"})
"""Paths that are also served without the mount prefix."""


OF_THREADS = (
    "append",
    "branches",
    "copy_anywhere",
    "delete_copies",
    "promote",
    "reset",
    "select_forked_from",
    "thread_storage",
    "tags",
    "thread_compare",
    "thread_digests",
    "thread_lineage",
    "thread_storage",
)
"""Features of the routes of threads, by the names that `/info` gives them."""


class SystemRoutes:
    """Request handlers of the system routes.

    Args:
        describe: returns the OpenAPI document, without `servers`.
    """

    def __init__(
        self, settings: Settings, process_info: ProcessInfo, metrics: Metrics, describe: Callable[[], dict[str, Any]]
    ) -> None:
        self.settings = settings
        self.process_info = process_info
        self.metrics = metrics
        self.describe = describe
        self._encoding = asyncio.Lock()
        self._description: dict[str, Any] | None = None
        self._info = orjson.dumps(self._facts())

    def _facts(self) -> dict[str, Any]:
        threads = not self.settings.http.disable_threads
        return {
            "version": threadloom.__version__,
            "langgraph_py_version": importlib.metadata.version("langgraph"),
            "flags": {
                "assistants": not self.settings.http.disable_assistants,
                **dict.fromkeys(OF_THREADS, threads),
                "store": not self.settings.http.disable_store,
                "server": self.process_info.details is not None and not self.settings.http.disable_meta,
                "queue": not self.settings.http.disable_runs,
                "webhook_deliveries": not self.settings.http.disable_webhooks,
                "crons": not self.settings.http.disable_runs and self.settings.vars.ff_crons_enabled,
                "isolate_forks": self.settings.threadloom.isolate_forks,
                "langsmith": self.settings.vars.langsmith_tracing,
                "langsmith_tracing_replicas": True,
                "langsmith_tracing_session_on_runs": True,
                "strict_resume": True,
                "stream_namespaces": True,
                **self.process_info.flags,
            },
            "host": {
                "kind": "self-hosted",
                "project_id": None,
                "host_revision_id": None,
                "revision_id": None,
                "tenant_id": None,
            },
        }

    async def ok(self, request: Request) -> ASGIApp:
        if self.settings.http.disable_meta:
            return Response(b'{"ok":true}')
        if not request.flag("check_db"):
            await self.process_info.ready()
            return Response(b'{"ok":true,"services":{}}')
        services: dict[str, str] = {}
        status = 200
        for name, probe in self.process_info.probes.items():
            try:
                await probe()
                services[name] = "healthy"
            except Exception as error:
                log.error("%s is unhealthy: %s", name, error)
                services[name] = "unhealthy"
                status = max(status, 503) if isinstance(error, Unavailable) else 500
        return json_response({"ok": status == 200, "services": services}, status)

    async def root(self, request: Request) -> ASGIApp:
        """As `ok` for clients; sends browsers to Studio."""
        accepted = request.header(b"accept") or ""
        if not self.settings.serves_studio or "text/html" not in accepted:
            return await self.ok(request)
        location = page_from_root(request.scope["path"], self.settings.http.mount_prefix)
        return Response(b"", 307, [(b"location", location.encode()), (b"vary", b"Accept")], None)

    async def live(self, request: Request) -> ASGIApp:
        return Response(b'{"ok":true,"services":{}}')

    async def info(self, request: Request) -> ASGIApp:
        reload = self.process_info.reload()
        return Response(self._info if reload is None else orjson.dumps({**self._facts(), "reload": reload}))

    async def server(self, request: Request) -> ASGIApp:
        assert self.process_info.details is not None
        return json_response(await self.process_info.details())

    async def show_metrics(self, request: Request) -> ASGIApp:
        prefix = self.settings.vars.metric_prefix
        queue = await self.process_info.queue()
        reports = await self.process_info.reports(self.metrics.report(prefix, self.process_info.workers()))
        if request.text("format") == "json":
            total = added_up(reports.values())
            most, active = total.workers
            workers = {"max": most, "active": active, "available": max(most - active, 0)}
            return json_response({"queue": queue, "api": total.counts, "workers": workers})
        encode, content_type = exposition(request.header(b"accept") or "")
        async with self._encoding:  # one at a time: encoding competes with the event loop for the interpreter
            body = await asyncio.to_thread(encode, AllProcesses(reports, of_queue(prefix, queue)))
        return Response(body, content_type=content_type.encode())

    async def openapi(self, request: Request) -> ASGIApp:
        return json_response(self._document(request.scope))

    async def docs(self, request: Request) -> ASGIApp:
        headers = [(b"content-security-policy", OFFLINE)]
        return Response(page(self._document(request.scope)).encode(), 200, headers, b"text/html; charset=utf-8")

    def _document(self, scope: Scope) -> dict[str, Any]:
        if self._description is None:
            self._description = self.describe()
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), None)
        base = f"{scope.get('scheme', 'http')}://{host}" if host else (self.settings.base_url or "")
        return {**self._description, "servers": [{"url": base + self.settings.http.mount_prefix}]}

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def system(path: str, handler: Any, summary: str, **more: Any) -> Operation:
            group: Any = "" if path in ("/ok", "/live") else "meta"
            return Operation(
                method="GET", path=path, handler=handler, summary=summary, tag="System", group=group, **more
            )

        check = Param("check_db", {"type": "boolean"}, "Whether to look at each backing service.")
        form = Param("format", {"enum": ["prometheus", "json"]})
        return [
            system(
                "/ok",
                self.ok,
                "Tell whether requests should come here",
                query=(check,),
                result=HealthResponse,
                errors=(500, 503),
            ),
            system("/live", self.live, "Tell that the process lives", result=HealthResponse),
            system(
                "/",
                self.root,
                "Tell whether requests should come here",
                query=(check,),
                result=HealthResponse,
                errors=(500, 503),
            ),
            system("/info", self.info, "Tell versions and features", result=InfoResponse),
            *(
                [system("/server", self.server, "Tell what the server is made of", result=ServerResponse)]
                if self.process_info.details is not None
                else []
            ),
            system(
                "/metrics",
                self.show_metrics,
                "Show figures",
                query=(form,),
                media="text/plain",
                result=Any,
                responses=JSON_FIGURES,
            ),
            system("/openapi.json", self.openapi, "Describe the interface", result=dict[str, Any]),
            system("/docs", self.docs, "Describe the interface, for people", media="text/html", result=Any),
        ]
