"""Routes that tell of the server itself: health, versions, figures, its own description."""

import asyncio
import importlib.metadata
import logging
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import ASGIApp, Scope

import threadloom
from threadloom.api.describe import page
from threadloom.api.http import Call, Reply, answer
from threadloom.api.metrics import AllProcesses, Metrics, added_up, exposition, of_queue
from threadloom.api.parts import Backstage
from threadloom.api.routing import Operation, Param
from threadloom.config.settings import Settings
from threadloom.errors import Unavailable
from threadloom.services.responses import HealthResponse, InfoResponse

log = logging.getLogger(__name__)

ALWAYS_OURS = frozenset({"/ok", "/metrics", "/docs", "/openapi.json"})
"""Paths that an own app cannot take over."""

JSON_FIGURES: dict[int, dict[str, dict[str, Any]]] = {
    200: {"application/json": {"type": "object"}, "application/openmetrics-text": {"type": "string"}}
}

OFFLINE = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The page of the interface loads nothing, from here or elsewhere."""

AT_THE_ROOT = frozenset({"/", "/ok", "/live", "/metrics"})
"""Paths that answer without the mount prefix too."""


class System:
    """The handlers.

    Args:
        describe: gives the OpenAPI document, without `servers`.
    """

    def __init__(
        self, settings: Settings, backstage: Backstage, metrics: Metrics, describe: Callable[[], dict[str, Any]]
    ) -> None:
        self.settings = settings
        self.backstage = backstage
        self.metrics = metrics
        self.describe = describe
        self._encoding = asyncio.Lock()
        self._description: dict[str, Any] | None = None
        self._info = orjson.dumps(self._facts())

    def _facts(self) -> dict[str, Any]:
        return {
            "version": threadloom.__version__,
            "langgraph_py_version": importlib.metadata.version("langgraph"),
            "flags": {
                "assistants": not self.settings.http.disable_assistants,
                "delete_copies": not self.settings.http.disable_threads,
                "webhook_deliveries": not self.settings.http.disable_webhooks,
                "crons": not self.settings.http.disable_runs and self.settings.vars.ff_crons_enabled,
                "langsmith": self.settings.vars.langsmith_tracing,
                "langsmith_tracing_replicas": True,
                "langsmith_tracing_session_on_runs": True,
                "strict_resume": True,
                "stream_namespaces": True,
                **self.backstage.flags,
            },
            "host": {
                "kind": "self-hosted",
                "project_id": None,
                "host_revision_id": None,
                "revision_id": None,
                "tenant_id": None,
            },
        }

    async def ok(self, call: Call) -> ASGIApp:
        if self.settings.http.disable_meta:
            return Reply(b'{"ok":true}')
        if not call.flag("check_db"):
            await self.backstage.ready()
            return Reply(b'{"ok":true,"services":{}}')
        services: dict[str, str] = {}
        status = 200
        for name, probe in self.backstage.probes.items():
            try:
                await probe()
                services[name] = "healthy"
            except Exception as error:
                log.error("%s is unhealthy: %s", name, error)
                services[name] = "unhealthy"
                status = max(status, 503) if isinstance(error, Unavailable) else 500
        return answer({"ok": status == 200, "services": services}, status)

    async def live(self, call: Call) -> ASGIApp:
        return Reply(b'{"ok":true,"services":{}}')

    async def info(self, call: Call) -> ASGIApp:
        reload = self.backstage.reload()
        return Reply(self._info if reload is None else orjson.dumps({**self._facts(), "reload": reload}))

    async def show_metrics(self, call: Call) -> ASGIApp:
        prefix = self.settings.vars.metric_prefix
        queue = await self.backstage.queue()
        reports = await self.backstage.reports(self.metrics.report(prefix, self.backstage.workers()))
        if call.text("format") == "json":
            total = added_up(reports.values())
            most, active = total.workers
            workers = {"max": most, "active": active, "available": max(most - active, 0)}
            return answer({"queue": queue, "api": total.counts, "workers": workers})
        encode, content_type = exposition(call.header(b"accept") or "")
        async with self._encoding:  # one at a time: each competes with the event loop for the interpreter
            body = await asyncio.to_thread(encode, AllProcesses(reports, of_queue(prefix, queue)))
        return Reply(body, content_type=content_type.encode())

    async def openapi(self, call: Call) -> ASGIApp:
        return answer(self._document(call.scope))

    async def docs(self, call: Call) -> ASGIApp:
        headers = [(b"content-security-policy", OFFLINE)]
        return Reply(page(self._document(call.scope)).encode(), 200, headers, b"text/html; charset=utf-8")

    def _document(self, scope: Scope) -> dict[str, Any]:
        if self._description is None:
            self._description = self.describe()
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), None)
        base = f"{scope.get('scheme', 'http')}://{host}" if host else (self.settings.base_url or "")
        return {**self._description, "servers": [{"url": base + self.settings.http.mount_prefix}]}

    def operations(self) -> list[Operation]:
        """The routes, for router and description."""

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
                self.ok,
                "Tell whether requests should come here",
                query=(check,),
                result=HealthResponse,
                errors=(500, 503),
            ),
            system("/info", self.info, "Tell versions and features", result=InfoResponse),
            system(
                "/metrics",
                self.show_metrics,
                "Show figures",
                query=(form,),
                media="text/plain",
                result=Any,
                told=JSON_FIGURES,
            ),
            system("/openapi.json", self.openapi, "Describe the interface", result=dict[str, Any]),
            system("/docs", self.docs, "Describe the interface, for people", media="text/html", result=Any),
        ]
