"""Converts exceptions to responses. Every error of the server is `{"detail": "<text>"}`."""

import logging
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse
from starlette.types import Receive, Scope, Send

from threadloom.api.http import RequestContext, Response, deny, error_body
from threadloom.codec import to_json
from threadloom.errors import ApiError, Denied, StorageError, TooMany
from threadloom.services.requests import BadLabel

log = logging.getLogger(__name__)

OURS = ("content-length", "content-type", "transfer-encoding", "connection")
"""Headers that only the server sets, not the user's handlers."""

EXPECTED = (ApiError, StorageError)
"""Exceptions that become responses. Any other exception of a handler is a bug."""


def status_of(error: Exception) -> int:
    """Returns the HTTP status of an expected error: its own, or that of a storage error (507: full, 503: all others)."""
    if isinstance(error, ApiError):
        return error.status
    return 507 if "full" in str(error) else 503


def response_to(error: Exception) -> Response:
    """Returns the response for an expected error."""
    if isinstance(error, BadLabel):
        return Response(error.detail.encode(), 422, None, b"text/plain; charset=utf-8")
    detail = error.detail if isinstance(error, ApiError) else f"Storage refused: {error}"
    if not isinstance(error, ApiError):
        log.error("storage refused a request: %s", error)
    headers = [(name.encode(), value.encode()) for name, value in _headers(error).items()]
    if isinstance(error, Denied):
        body = b"" if error.status == 304 else to_json({"detail": error.content})
        return Response(body, error.status, headers)
    return Response(error_body(detail), status_of(error), headers)


def _headers(error: Exception) -> dict[str, str]:
    """Returns the headers of the response. For a handler's refusal: the headers that it set, without those that the body
    determines and without invalid ones.
    """
    if isinstance(error, Denied):
        return {
            name.lower(): value
            for name, value in error.headers.items()
            if name.lower() not in OURS and (name + value).isascii() and (name + value).isprintable()
        }
    return {"retry-after": str(error.retry_after)} if isinstance(error, TooMany) else {}


def as_http(error: Exception) -> HTTPException:
    """Returns the same error as an exception that a custom app's exception handlers understand."""
    if isinstance(error, Denied):
        return HTTPException(error.status, error.content, _headers(error))
    detail = error.detail if isinstance(error, ApiError) else f"Storage refused: {error}"
    return HTTPException(status_of(error), detail, _headers(error) or None)


def response_to_bug(request_id: str) -> Response:
    """Returns the response for an unexpected exception. It shows the request's id and no internals."""
    return Response(error_body(f"Internal server error. The log tells more under request id {request_id}."), 500)


def log_bug(scope: Scope, error: BaseException) -> None:
    """Logs an unexpected exception with its traceback."""
    request_context: RequestContext = scope["threadloom"]
    where = f"{scope.get('method', scope['type'])} {quote(scope.get('path', ''))}"
    log.error("%s failed (request id %s)", where, request_context.request_id, exc_info=error)


async def on_http_exception(request: Request, error: Exception) -> StarletteResponse:
    """Exception handler for HTTP errors, for custom apps without one."""
    assert isinstance(error, HTTPException)
    if error.status_code in (204, 304):
        return StarletteResponse(status_code=error.status_code, headers=error.headers)
    return StarletteResponse(
        error_body(error.detail), error.status_code, headers=error.headers, media_type="application/json"
    )


async def on_exception(request: Request, error: Exception) -> StarletteResponse:
    """Exception handler for unexpected exceptions, for custom apps without one."""
    response = response_to_bug(request.scope["threadloom"].request_id)
    return StarletteResponse(response.body, response.status, media_type="application/json")


async def refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends the response to an expected error in place of the app's, to a request or to a web socket handshake."""
    response = response_to(error)
    if scope["type"] == "http":
        await response(scope, receive, send)
    else:
        await deny(response, scope, receive, send)
