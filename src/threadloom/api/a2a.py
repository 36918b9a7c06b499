"""The routes of A2A: agent cards, and one JSON-RPC endpoint for each assistant, in the protocol versions 0.3 and 1.0.

Why the messages are plain dicts and not the types of `a2a-sdk`: docs/decisions/0001-mcp-and-a2a-types.md.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

from starlette.types import ASGIApp

from threadloom.api import rpc
from threadloom.api.http import Request, json_response
from threadloom.api.routing import Operation, Param
from threadloom.api.sse import HEARTBEAT_SECONDS, DeferredJsonResponse, EventStreamResponse
from threadloom.codec import to_json
from threadloom.errors import ApiError, Invalid
from threadloom.services import Services
from threadloom.services.a2a import A2aService, error_message
from threadloom.services.a2a_tasks import A2aRequest, Scope
from threadloom.services.a2a_wire import A2aError, Object, invalid
from threadloom.services.responses import RpcRefusalResponse
from threadloom.types import Event

log = logging.getLogger(__name__)

METHODS: dict[str, tuple[str, bool]] = {
    "message/send": ("send", False),
    "SendMessage": ("send", True),
    "message/stream": ("stream", False),
    "SendStreamingMessage": ("stream", True),
    "tasks/get": ("get", False),
    "GetTask": ("get", True),
    "tasks/cancel": ("cancel", False),
    "CancelTask": ("cancel", True),
    "tasks/resubscribe": ("subscribe", False),
    "SubscribeToTask": ("subscribe", True),
    "ListTasks": ("list", True),
    "GetExtendedAgentCard": ("card", True),
}
"""JSON-RPC method -> the name of its operation, and whether the method belongs to protocol version 1.0."""

STREAMS = ("stream", "subscribe")
SCOPE_HEADER = b"langgraph-a2a-history-scope"


class A2aRoutes:
    """Request handlers of the A2A routes."""

    def __init__(self, services: Services, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.a2a = A2aService(services)
        self.heartbeat = heartbeat

    async def card(self, request: Request) -> ASGIApp:
        named = request.params.get("assistant_id") or request.text("assistant_id")
        try:
            assistant = await self.a2a.assistant(request.caller, named)
        except A2aError as error:
            return json_response({"error": {"code": error.code, "message": error.message}}, 400)
        return json_response(await self.a2a.card(request.caller, assistant, _base(request)))

    async def rpc(self, request: Request) -> ASGIApp:
        try:
            message = await request.json()
        except Invalid:
            return json_response(rpc.failure(None, rpc.PARSE_ERROR, "Invalid JSON"))
        if not isinstance(message, dict):
            return json_response(rpc.failure(None, rpc.INVALID_REQUEST, "The request must be an object"))
        id_, method, params = message.get("id"), message.get("method"), message.get("params")
        if isinstance(id_, bool) or not isinstance(id_, str | int | float | None):
            return json_response(rpc.failure(None, rpc.INVALID_REQUEST, "id must be a text or a number"))
        if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
            return json_response(rpc.failure(id_, rpc.INVALID_REQUEST, 'jsonrpc must be "2.0", and method a text'))
        if method not in METHODS:
            return json_response(rpc.failure(id_, rpc.METHOD_NOT_FOUND, f"Method not found: {method}"))
        what, modern = METHODS[method]
        media = "text/event-stream" if what in STREAMS else "application/json"
        if not rpc.accepts(request.header(b"accept"), media):
            return json_response({"error": f"Accept header must include {media}"}, 400)
        try:
            if not isinstance(params, dict | None):
                raise invalid("params must be an object")
            return await self._answered(request, id_, what, modern, params or {})
        except Exception as error:
            if isinstance(error, A2aError) or (isinstance(error, ApiError) and error.status < 500):
                return json_response(failed(id_, error))
            raise

    async def _answered(self, request: Request, id_: Any, what: str, modern: bool, params: Object) -> ASGIApp:
        scope = request.header(SCOPE_HEADER) or "context"
        if scope not in ("context", "task"):
            raise invalid(f"LangGraph-A2A-History-Scope: {scope!r:.100} is neither context nor task")
        assistant = await self.a2a.assistant(request.caller, request.params["assistant_id"])
        asked = A2aRequest(caller=request.caller, assistant=assistant, modern=modern, scope=cast(Scope, scope))
        if what in STREAMS:
            begin = self.a2a.stream if what == "stream" else self.a2a.subscribe
            return EventStreamResponse(_events(id_, await begin(asked, params)), ids=False, seconds=self.heartbeat)
        if what == "send":
            return DeferredJsonResponse(_deferred(id_, await self.a2a.send(asked, params)), seconds=self.heartbeat)
        if what == "card":
            return json_response(rpc.success(id_, await self.a2a.card(request.caller, assistant, _base(request))))
        reads: dict[str, Callable[[A2aRequest, Object], Awaitable[Object]]] = {
            "get": self.a2a.get,
            "cancel": self.a2a.cancel,
            "list": self.a2a.search,
        }
        return json_response(rpc.success(id_, await reads[what](asked, params)))

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def a2a(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method,
                path=path,
                handler=handler,
                summary=summary,
                tag="A2A",
                group="a2a",
                result=dict[str, Any],
                errors=(400,),
                error=RpcRefusalResponse,
                **more,
            )

        one = "/a2a/{assistant_id}"
        which = Param("assistant_id", {"type": "string", "format": "uuid"}, "Id of an assistant.", required=True)
        card = "/.well-known/agent-card.json"
        return [
            a2a("GET", card, self.card, "Get the agent card of an assistant", query=(which,)),
            a2a("GET", one + card, self.card, "Get the agent card"),
            a2a("GET", one, self.card, "Get the agent card (the same again)"),
            a2a(
                "POST",
                one,
                self.rpc,
                "Send an A2A message, read or cancel tasks (JSON-RPC; streams answer with events)",
                message=rpc.BODY,
            ),
        ]


def failed(id_: Any, error: Exception) -> dict[str, Any]:
    """Returns the JSON-RPC response for an error. Only errors that are meant for callers show their text."""
    if isinstance(error, A2aError):
        return rpc.failure(id_, error.code, error.message, error.data)
    if isinstance(error, ApiError):
        return rpc.failure(id_, rpc.INTERNAL_ERROR if error.status >= 429 else rpc.INVALID_PARAMS, error_message(error))
    log.error("a task could not be followed to its end", exc_info=error)
    return rpc.failure(id_, rpc.INTERNAL_ERROR, "Internal error")


async def _deferred(id_: Any, result: Awaitable[Object]) -> bytes:
    try:
        return to_json(rpc.success(id_, await result))
    except Exception as error:
        return to_json(failed(id_, error))


async def _events(id_: Any, items: AsyncIterator[Object]) -> AsyncIterator[Sequence[Event]]:
    try:
        async for item in items:
            yield [_event(rpc.success(id_, item))]
    except Exception as error:
        yield [_event(failed(id_, error))]
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


def _event(data: dict[str, Any]) -> Event:
    return Event(thread_id="", run_id="", name="message", data=to_json(data))


def _base(request: Request) -> str:
    """Returns the URL under which the caller reaches the server, including the mount prefix."""
    scope = request.scope
    host = request.header(b"host") or "localhost"
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}"
