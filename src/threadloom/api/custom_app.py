"""The user's custom app (`http.app`, Starlette or FastAPI), combined with the server's routes.

The custom app is kept whole: its middleware wraps the server's routes too, its exception handlers shape the server's errors, and
its lifespan runs within the server's lifespan. The server's routes are added to its router: those that a custom app cannot
override before its own routes, all others after them.
"""

import functools
from collections.abc import Callable
from contextvars import Token
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from threadloom.api.auth_middleware import AuthMiddleware
from threadloom.api.dispatch import Dispatcher, route_path
from threadloom.api.errors import on_exception, on_http_exception
from threadloom.api.openapi import of_starlette
from threadloom.api.system import ALWAYS_OURS


class CustomAppContext(Protocol):
    """Sets what `langgraph.config.get_store()` returns in custom routes (see `graphs.current_store`)."""

    def enter(self) -> Token[Any]:
        """Makes the store current; returns the token that `exit` takes."""
        ...

    def suspend(self) -> None:
        """Makes no store current, for code that is called from here on."""
        ...

    def exit(self, token: Token[Any]) -> None:
        """Restores the store that was current before `enter`."""
        ...


class CustomApp:
    """The custom app with the server's routes in it, as an ASGI app.

    Args:
        app: the user's app. It is changed: routes and missing exception handlers are added.
        dispatcher: the server's routes, which raise their errors.
        context: makes the server's store current in custom routes.
        gate: authenticates requests to the server's routes; None: no authentication here. Authenticated requests pass.
    """

    def __init__(
        self,
        app: Starlette,
        dispatcher: Dispatcher,
        context: CustomAppContext | None,
        gate: AuthMiddleware | None = None,
    ) -> None:
        self.app = app
        self.context = context
        self.description = _describe(app)
        own = app.router.routes
        own[:] = [route for route in own if not isinstance(route, _Ours)]  # of an earlier load of the app
        self.routes = list(own)
        app.router.routes.insert(0, _Ours(dispatcher, context, [], first=True))
        app.router.routes.append(_Ours(dispatcher, context, self.routes, first=False, gate=gate))
        if not {HTTPException, 404}.intersection(app.exception_handlers):
            app.add_exception_handler(HTTPException, on_http_exception)
        if not {Exception, 500}.intersection(app.exception_handlers):
            app.add_exception_handler(Exception, on_exception)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request or one web socket."""
        if self.context is None:
            await self.app(scope, receive, send)
            return
        token = self.context.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            self.context.exit(token)

    def takes(self, scope: Scope) -> bool:
        """Returns whether one of the custom app's routes serves a request or a web socket."""
        return self._match(scope) is not None

    def params(self, scope: Scope) -> dict[str, str]:
        """Returns the path parameters of a request to a custom route."""
        found = self._match(scope) or {}
        return {name: str(value) for name, value in found.get("path_params", {}).items()}

    def _match(self, scope: Scope) -> Scope | None:
        if scope["type"] == "http" and route_path(scope) in ALWAYS_OURS:
            return None
        for route in self.routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return child
        return None


class _Ours(BaseRoute):
    """All routes of the server as one route of the custom app's router.

    Args:
        own: the custom routes; checked for redirects of trailing slashes.
        first: whether it stands before the custom routes and takes only the paths that they cannot override.
        gate: authenticates requests.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        context: CustomAppContext | None,
        own: list[BaseRoute],
        *,
        first: bool,
        gate: AuthMiddleware | None = None,
    ) -> None:
        self._answer: ASGIApp = self.answer if gate is None else gate.around(self.answer)
        self.dispatcher = dispatcher
        self.context = context
        self.own = own
        self.first = first
        self.path = ""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Matches every HTTP request that reaches it, or (if `first`) only the paths that custom routes cannot override."""
        if scope["type"] != "http":
            return Match.NONE, {}
        if self.first:
            path = route_path(scope)
            ours = path in ALWAYS_OURS and scope["method"] in ("GET", "HEAD") and self.dispatcher.knows(path)
            return (Match.FULL if ours else Match.NONE), {}
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticates and serves a request."""
        await self._answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request by the server's routes, or redirects to a custom route that has (or lacks) a trailing slash."""
        if self.context is not None:
            self.context.suspend()
        path = route_path(scope)
        if self.own and path != "/" and not self.dispatcher.knows(path):
            other: str = scope["path"].rstrip("/") if path.endswith("/") else scope["path"] + "/"
            moved = {**scope, "path": other}
            if any(route.matches(moved)[0] is not Match.NONE for route in self.own):
                query = scope["query_string"].decode("latin-1")
                target = RedirectResponse(other + (f"?{query}" if query else ""))
                await target(scope, receive, send)
                return
        await self.dispatcher(scope, receive, send)


def custom_cors(app: Starlette) -> Callable[[ASGIApp], ASGIApp] | None:
    """Returns a wrapper that applies the custom app's CORSMiddleware, or None if it has none. The wrapper replaces the server's
    own CORS layer around the whole app, so that it also applies to responses of authentication before the app.
    """
    for middleware in app.user_middleware:
        if isinstance(middleware.cls, type) and issubclass(middleware.cls, CORSMiddleware):
            return functools.partial(_wrapped, middleware)
    return None


def _wrapped(middleware: Middleware, app: ASGIApp) -> ASGIApp:
    return middleware.cls(app, *middleware.args, **middleware.kwargs)


def _describe(app: Starlette) -> dict[str, Any]:
    """Returns the OpenAPI description of the custom app: FastAPI's own, or one made from Starlette's routes."""
    openapi = getattr(app, "openapi", None)
    described: dict[str, Any] = openapi() if callable(openapi) else of_starlette(app.router.routes)
    return described
