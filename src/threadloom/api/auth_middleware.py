"""Authentication of every request and every web socket handshake before it is routed.

See docs/contract/auth.md#authentication.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials
from starlette.datastructures import QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from threadloom.api.dispatch import route_path
from threadloom.api.encryption_context import EncryptionContextMiddleware
from threadloom.api.errors import EXPECTED, refuse
from threadloom.api.http import RequestContext, loaded
from threadloom.auth.user import studio_user, user_id
from threadloom.config.host_names import is_loopback
from threadloom.config.settings import CREDENTIALS
from threadloom.errors import Invalid, TooLarge
from threadloom.types import Caller

OPEN = frozenset({"/", "/ok", "/live", "/info", "/docs", "/openapi.json", "/metrics"})
"""Paths that need no authentication."""

LONGEST_WORD = 7
"""Parts of a credential header with at most this many characters are no secret by themselves (`Bearer`)."""

STUDIO = (b"x-auth-scheme", b"langsmith")

Spared = Callable[[Scope], bool]


class Authenticator(Protocol):
    """Authenticates requests (`auth.authenticate`)."""

    async def user(self, connection: Any) -> Any:
        """Returns the user of a request or a web socket handshake.

        Raises:
            Denied: with status and detail of the response.
        """
        ...


class AuthMiddleware:
    """Admits requests that the authenticator accepts; refuses all others.

    Args:
        path_params: returns the path parameters of a request, by its route.
        max_body: bytes of a body that a handler may read.
        bundled: whether a request is for a file of a UI bundle or of Studio. A page loads these before it has credentials.
        studio: whether Studio is admitted from this machine without credentials.
        encryption_context: sets the encryption context of admitted requests; None: there are no encryption handlers.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        path_params: Callable[[Scope], dict[str, str]],
        max_body: int,
        bundled: Spared = lambda scope: False,
        studio: bool = False,
        encryption_context: EncryptionContextMiddleware | None = None,
    ) -> None:
        self._encryption_context = encryption_context
        self._authenticator = authenticator
        self._bundled = bundled
        self._path_params = path_params
        self._max_body = max_body
        self._studio = studio

    def around(self, app: ASGIApp, spared: Spared = lambda scope: False) -> ASGIApp:
        """Returns the app with authentication before it.

        Args:
            spared: whether a request is exempt from authentication.
        """

        inner = app if self._encryption_context is None else self._encryption_context.around(app)

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] not in ("http", "websocket") or _passes(scope) or self._bundled(scope):
                await app(scope, receive, send)
                return
            if spared(scope) or _is_trusted(scope):
                await inner(scope, receive, send)
                return
            connection = HttpConnection(scope, receive, self._max_body, self._path_params)
            try:
                await self._enter(scope, connection)
            except EXPECTED as error:
                await refuse(error, scope, receive, send)
                return
            await inner(scope, connection.replay, send)

        return gated

    async def _enter(self, scope: Scope, connection: "HttpConnection") -> None:
        """Authenticates a request and stores the user in the request context and the scope."""
        if self._studio and connection.header(STUDIO[0]) == STUDIO[1] and _is_near(scope):
            user = studio_user()
        else:
            user = await self._authenticator.user(connection)
        request_context: RequestContext = scope["threadloom"]
        request_context.caller = Caller(
            request_id=request_context.request_id,
            trace=request_context.caller.trace,
            user_id=user_id(user),
            user=user,
            permissions=list(user.permissions),
        )
        scope["user"] = user
        scope["auth"] = AuthCredentials([str(permission) for permission in user.permissions])


class HttpConnection:
    """The parameters of a request for an authenticate handler. It records what it reads of the body, so that the route can read
    it again.
    """

    def __init__(
        self, scope: Scope, receive: Receive, max_body: int, path_params: Callable[[Scope], dict[str, str]]
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._max_body = max_body
        self._path_params = path_params
        self._read: list[Message] = []
        self._size = 0

    def header(self, name: bytes) -> bytes | None:
        """Returns the first header of that (lower-case) name."""
        return next((value for key, value in self._scope["headers"] if key == name), None)

    def secrets(self) -> Iterable[str]:
        """Returns the credentials of the request."""
        for name in CREDENTIALS:
            text = (self.header(name.encode()) or b"").decode("latin-1")
            yield text
            yield from (part for part in re.split(r"[\s;=,:]+", text) if len(part) > LONGEST_WORD)

    async def give(self, name: str) -> Any:
        """Returns the value of a parameter of the handler."""
        match name:
            case "authorization":
                value = self.header(b"authorization")
                return None if value is None else value.decode("latin-1")
            case "headers":
                headers: dict[bytes, bytes] = {}
                for key, text in self._scope["headers"]:
                    headers.setdefault(key, text)
                return headers
            case "method":
                return self._scope.get("method", "GET")
            case "path":
                return self._scope["path"]
            case "path_params":
                return self._path_params(self._scope)
            case "query_params":
                return QueryParams(self._scope["query_string"])
            case "request":
                if self._scope["type"] == "http":
                    return Request(self._scope, self._from_the_start())
                return WebSocket(self._scope, self._from_the_start(), _mute)
            case "scope":
                return self._scope
            case "user":
                return self._scope.get("user")
            case "scopes":
                return list(self._scope["auth"].scopes) if "auth" in self._scope else []
            case _:
                return await self._body()

    async def replay(self) -> Message:
        """ASGI's `receive` for the route: returns the recorded messages first."""
        return self._read.pop(0) if self._read else await self._receive()

    def _from_the_start(self) -> Receive:
        """Returns ASGI's `receive` for a handler: it returns the messages from the start."""
        at = 0

        async def receive() -> Message:
            nonlocal at
            if at == len(self._read):
                await self._record()
            at += 1
            return self._read[at - 1]

        return receive

    async def _record(self) -> Message:
        """Receives a message for the handler, and records it.

        Raises:
            TooLarge: the body is larger than `max_body`.
        """
        message = await self._receive()
        self._read.append(message)
        self._size += len(message.get("body", b""))
        if self._size > self._max_body:
            raise TooLarge(f"Request body is larger than {self._max_body} bytes")
        return message

    async def _body(self) -> Any:
        """Returns the parsed body; an empty mapping if there is none, or if it is no JSON."""
        if self._scope["type"] != "http":
            return {}
        parts = [message.get("body", b"") for message in self._read]
        while not self._read or self._read[-1].get("more_body"):
            message = await self._record()
            if message["type"] != "http.request":
                break
            parts.append(message.get("body", b""))
        try:
            return await loaded(b"".join(parts))
        except Invalid:
            return {}


def _passes(scope: Scope) -> bool:
    """Returns whether a request needs no authentication: it was authenticated already, or its path is open."""
    request_context: RequestContext = scope["threadloom"]
    if request_context.caller.user is not None:
        return True
    return scope["type"] == "http" and route_path(scope) in OPEN


def _is_trusted(scope: Scope) -> bool:
    """Returns whether a request comes from inside the process."""
    request_context: RequestContext = scope["threadloom"]
    return request_context.trusted


def _is_near(scope: Scope) -> bool:
    """Returns whether a request comes from this machine."""
    client = scope.get("client")
    return client is not None and is_loopback(str(client[0]))


def install_middleware(app: Starlette, gate: AuthMiddleware | None) -> None:
    """Installs authentication between a custom app's middleware and its routes. It replaces what an earlier configuration
    installed.
    """
    others = [middleware for middleware in app.user_middleware if not _is_ours(middleware)]
    if gate is not None:
        others.append(Middleware(_MiddlewareSlot, gate=gate))
    if others != app.user_middleware:
        app.user_middleware = others
        app.middleware_stack = None  # the next request rebuilds it


def _is_ours(middleware: Middleware) -> bool:
    made_by: object = middleware.cls
    return made_by is _MiddlewareSlot


class _MiddlewareSlot:
    """Authentication as a Starlette middleware."""

    def __init__(self, app: ASGIApp, gate: AuthMiddleware) -> None:
        self._gated = gate.around(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gated(scope, receive, send)


async def _mute(message: Message) -> None:
    raise RuntimeError("an authenticate handler cannot send on a web socket")
