"""The argument (`Request`) and the result (`Response`) of request handlers. Both are thin, because every request uses them."""

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import orjson
from starlette.types import Message, Receive, Scope, Send

from threadloom.api import parse
from threadloom.codec import ResponseBody, to_json
from threadloom.errors import Invalid, TooLarge
from threadloom.large import LARGE, aside, is_heavy, write_json
from threadloom.services.requests import canonical
from threadloom.types import Caller

T = TypeVar("T")
RawHeaders = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete, so no response can be sent."""


class Span(Protocol):
    """The span of a request on a trace (see `telemetry`)."""

    trace_id: str
    traceparent: str
    """The value of W3C's header `traceparent` that continues the span's trace."""

    def end(self, status: int, seconds: float) -> None:
        """Ends the span of a request. Status 0: the client disconnected first."""
        ...

    def leave(self) -> None:
        """Makes the span no longer the current one of this task. Must be called in the task in which it was begun."""
        ...


class RequestContext:
    """What is known of a request in addition to ASGI's scope. All layers share it, under `scope["threadloom"]`.

    Attributes:
        request_id: the caller's `x-request-id`, or a generated one.
        template: path of the route that serves the request (`/threads/{thread_id}`), "" if there is none.
        trusted: whether it came from inside the process (`get_client()` without a URL).
        ids: the thread's and the run's id in the path.
        caller: the caller, once it is known (`auth_middleware`).
        span: the request's span, if tracing is on.
    """

    __slots__ = ("caller", "ids", "request_id", "span", "template", "trusted")

    def __init__(self, request_id: str, trusted: bool = False) -> None:
        self.request_id = request_id
        self.template = ""
        self.trusted = trusted
        self.ids: dict[str, str] = {}
        self.caller = Caller(request_id=request_id, trusted=trusted)
        self.span: Span | None = None


class Response:
    """A complete response. `headers` are added to the content type, which is that of JSON by default."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        status: int = 200,
        headers: RawHeaders | None = None,
        content_type: bytes | None = JSON[1],
    ) -> None:
        self.body = body
        self.status = status
        self.headers: RawHeaders = [] if headers is None else headers
        if content_type is not None:
            self.headers.append((b"content-type", content_type))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.status != 204:
            self.headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def deny(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses a web socket handshake with a response, or (where the server cannot send one) without."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return

    async def denied(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await response(scope, receive, denied)


def json_response(value: Any, status: int = 200, headers: RawHeaders | None = None) -> Response:
    """Returns a JSON response; `value` may hold whatever `codec.to_json` supports."""
    if isinstance(value, ResponseBody):
        value = value.fields()  # converted here, because a conversion during encoding costs twice as much
    elif isinstance(value, list):
        value = [one.fields() if isinstance(one, ResponseBody) else one for one in value]
    return Response(to_json(value), status, headers)


async def answer_aside(value: Any, status: int = 200) -> Response:
    """As `json_response`, for a value that may be large and that does not change meanwhile."""
    return Response(await aside(write_json, value, to_json) if is_heavy(value) else to_json(value), status)


def empty_response(status: int = 204) -> Response:
    """Returns an empty response."""
    return Response(b"", status, None, None)


class Request:
    """A request to one of the server's routes.

    Attributes:
        scope, receive: ASGI's.
        params: the path's parameters, as the path spells them.
        caller: the caller.
        large: the body as plain JSON values, if it is large.
    """

    __slots__ = ("_max_body", "_query", "caller", "large", "params", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, params: dict[str, str], max_body: int) -> None:
        request_context: RequestContext = scope["threadloom"]
        self.scope = scope
        self.receive = receive
        self.params = params
        self.caller = request_context.caller
        self._max_body = max_body
        self._query: list[tuple[str, str]] | None = None
        self.large: list[Any] = []

    # --- the path and its parameters ---

    def id(self, kind: str) -> str:
        """Returns the id of a `thread`, `run`, `assistant`, `cron` or `delivery` in the path, in canonical spelling.

        Raises:
            Invalid: it is no UUID.
        """
        return canonical(kind, self.params[f"{kind}_id"])

    # --- headers ---

    def header(self, name: bytes) -> str | None:
        """Returns the first header of that (lower-case) name."""
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value.decode("latin-1"))
        return None

    # --- the query ---

    def all(self, name: str) -> list[str]:
        """Returns every value of a query parameter."""
        query = self._query
        if query is None:
            raw: bytes = self.scope["query_string"]
            text = raw.decode("latin-1") if raw else ""
            query = parse_qsl(text, keep_blank_values=True, errors="replace") if text else []
            self._query = query = [(key, value.replace("\0", "\ufffd")) for key, value in query]
        return [value for key, value in query if key == name]

    def text(self, name: str) -> str | None:
        """Returns the last value of a query parameter."""
        values = self.all(name)
        return values[-1] if values else None

    def integer(self, name: str, default: int, *, least: int | None = 0, most: int | None = None) -> int:
        """Returns a query parameter that is an integer.

        Raises:
            Invalid: it is no integer, or below `least`, or above `most`, or beyond 64 bits.
        """
        text = self.text(name)
        if text is None:
            return default
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise Invalid(f"{name}: {text!r:.100} is not a whole number")
        number = int(text)
        if least is not None and number < least:
            raise Invalid(f"{name}: {number} is less than {least}")
        if most is not None and number > most:
            raise Invalid(f"{name}: {number} is more than {most}")
        return number

    def flag(self, name: str, default: bool = False) -> bool:
        """Returns a query parameter that is true or false (`true`, `1`, `yes`; any case).

        Raises:
            Invalid: it is neither.
        """
        text = self.text(name)
        if text is None or text == "":
            return default
        value = _WORDS.get(text.lower())
        if value is None:
            raise Invalid(f"{name}: {text!r:.100} is neither true nor false")
        return value

    def says_true(self, name: str) -> bool:
        """Returns whether a query parameter is `true`, in any case. Any other text is false, as on LangGraph Server for the
        parameters that use this and not `flag`.
        """
        return (self.text(name) or "").lower() == "true"

    def choice(self, name: str, words: Iterable[str]) -> str | None:
        """Returns a query parameter that is one of `words`, or None.

        Raises:
            Invalid: it is another text.
        """
        text = self.text(name)
        if text is not None and text not in words:
            raise Invalid(f"{name}: {text!r:.100} is none of {', '.join(words)}")
        return text

    # --- the body ---

    async def body(self) -> bytes:
        """Returns the whole body.

        Raises:
            TooLarge: it has more bytes than the settings allow.
            ClientDisconnected: the client disconnected before the body was complete.
        """
        announced = self.header(b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > self._max_body:
            raise self._too_large()
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            whole: bytes = message.get("body", b"")
            if len(whole) > self._max_body:
                raise self._too_large()
            return whole
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self.receive()

    async def read(self, type_: type[T]) -> T:
        """Returns the body as a request struct. Raises as `parse.parse` and `body`."""
        return await self._parsed(await self.body(), type_)

    async def read_optional(self, type_: type[T]) -> T | None:
        """As `read`; returns None for an empty body or `null`."""
        body = await self.body()
        return None if body in (b"", b"null") else await self._parsed(body, type_)

    async def json(self) -> Any:
        """Returns the body as plain JSON values. Raises as `parse.load` and `body`."""
        return await loaded(await self.body())

    async def _parsed(self, body: bytes, type_: type[T]) -> T:
        return parse.parse(body, type_) if len(body) < LARGE else await aside(parse.parse, body, type_, self.large)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"Request body is larger than {self._max_body} bytes")


async def loaded(body: bytes) -> Any:
    """Returns a body as plain JSON values. Raises as `parse.load`."""
    return parse.load(body) if len(body) < LARGE else await aside(parse.load, body)


def error_body(detail: Any) -> bytes:
    """Returns the body of an error response."""
    return orjson.dumps({"detail": detail})
