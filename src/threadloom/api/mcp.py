"""The route of MCP: streamable HTTP without sessions. Each POST has one JSON-RPC message, and its response has one JSON body.

Why the messages are plain dicts and not the types of the `mcp` package: docs/decisions/0001-mcp-and-a2a-types.md.
"""

import logging
from collections.abc import Awaitable
from typing import Any

from starlette.types import ASGIApp

import threadloom
from threadloom.api import rpc
from threadloom.api.http import Request, Response, empty_response, json_response
from threadloom.api.routing import Operation
from threadloom.api.sse import HEARTBEAT_SECONDS, DeferredJsonResponse
from threadloom.codec import to_json
from threadloom.errors import ApiError, Invalid
from threadloom.services import Services
from threadloom.services.mcp import McpService, UnknownTool
from threadloom.services.responses import RpcRefusalResponse

log = logging.getLogger(__name__)

VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Supported versions of the protocol, oldest first. All begin with `initialize`, and do not differ in what this server uses."""


class McpRoutes:
    """Request handlers of the MCP route."""

    def __init__(self, services: Services, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.mcp = McpService(services)
        self.heartbeat = heartbeat

    async def post(self, request: Request) -> ASGIApp:
        if not rpc.accepts(request.header(b"accept"), "application/json", "text/event-stream"):
            return _refused("Accept header must include application/json or text/event-stream")
        try:
            message = await request.json()
        except Invalid:
            return _refused("Invalid JSON")
        if not isinstance(message, dict):
            return _refused("Invalid message format.")
        if message.get("jsonrpc") != "2.0":
            return _refused("Invalid JSON-RPC message. Missing or invalid jsonrpc version.")
        id_, method = message.get("id"), message.get("method")
        if isinstance(id_, bool) or not isinstance(id_, str | int | float | None):
            return _refused("Invalid message format.")
        if isinstance(method, str):
            return (
                empty_response(202)
                if id_ is None
                else await self._answered(request, id_, method, message.get("params"))
            )
        # A message with an id and no method is the client's response to a request. This server makes no requests.
        return _refused("Invalid message format.") if method is not None or id_ is None else empty_response(202)

    async def _answered(self, request: Request, id_: Any, method: str, params: Any) -> ASGIApp:
        if params is None:
            params = {}
        if not isinstance(params, dict):
            return json_response(rpc.failure(id_, rpc.INVALID_PARAMS, "params must be an object"))
        if method == "initialize":
            return json_response(rpc.success(id_, _greeting(params)))
        if method == "ping":
            return json_response(rpc.success(id_, {}))
        if method == "tools/list":
            return json_response(rpc.success(id_, await self.mcp.tools(request.caller, params.get("cursor"))))
        if method == "tools/call":
            return await self._call(request, id_, params)
        return json_response(rpc.failure(id_, rpc.METHOD_NOT_FOUND, f"Method not found: {method}"))

    async def _call(self, request: Request, id_: Any, params: dict[str, Any]) -> ASGIApp:
        arguments = params.get("arguments")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            return json_response(rpc.failure(id_, rpc.INVALID_PARAMS, "arguments must be an object"))
        try:
            result = await self.mcp.call(request.caller, params.get("name"), arguments)
        except UnknownTool as unknown:
            return json_response(rpc.failure(id_, rpc.INVALID_PARAMS, unknown.detail))
        return DeferredJsonResponse(_enveloped(id_, result), seconds=self.heartbeat)

    async def no_stream(self, request: Request) -> ASGIApp:
        return Response(b"", 405, [(b"allow", b"POST")], None)

    async def no_session(self, request: Request) -> ASGIApp:
        return empty_response(404)

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description. `/mcp/` is the same as `/mcp`."""

        def mcp(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            hidden = method != "POST" or path.endswith("/")
            return Operation(
                method=method,
                path=path,
                handler=handler,
                summary=summary,
                tag="MCP",
                group="mcp",
                hidden=hidden,
                **more,
            )

        return [
            operation
            for path in ("/mcp", "/mcp/")
            for operation in (
                mcp(
                    "POST",
                    path,
                    self.post,
                    "Send an MCP message (`initialize`, `ping`, `tools/list`, `tools/call`); notifications answer 202",
                    message=rpc.BODY,
                    result=dict[str, Any],
                    errors=(202, 400, 429),
                    error=RpcRefusalResponse,
                ),
                mcp("GET", path, self.no_stream, "There is no event stream", status=405),
                mcp("DELETE", path, self.no_session, "There are no sessions", status=404),
            )
        ]


def _greeting(params: dict[str, Any]) -> dict[str, Any]:
    version = params.get("protocolVersion")
    return {
        "protocolVersion": version if version in VERSIONS else VERSIONS[-1],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "Threadloom", "version": threadloom.__version__},
    }


def _refused(text: str) -> Response:
    return json_response({"error": text}, 400)


async def _enveloped(id_: Any, result: Awaitable[dict[str, Any]]) -> bytes:
    try:
        return to_json(rpc.success(id_, await result))
    except ApiError as error:
        return to_json(rpc.failure(id_, rpc.INTERNAL_ERROR, error.detail))
    except Exception:
        log.exception("a tool call ended early")
        return to_json(rpc.failure(id_, rpc.INTERNAL_ERROR, "Internal error"))
