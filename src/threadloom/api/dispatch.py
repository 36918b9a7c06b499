"""Dispatches a request to one of the server's routes: finds the route, calls its handler, converts errors to responses."""

import fnmatch
import re
from collections.abc import Callable, Iterable

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from threadloom.api.errors import EXPECTED, as_http, log_bug, response_to, response_to_bug
from threadloom.api.http import ClientDisconnected, Request, RequestContext, Response, error_body
from threadloom.api.routing import Operation, Router
from threadloom.config.settings import CREDENTIALS, HeaderRules
from threadloom.large import let_go
from threadloom.log import bind
from threadloom.services.requests import BadLabel
from threadloom.usercode import contained

LOGGED = frozenset({"thread_id", "run_id"})
"""Path parameters that are added to the logs and traces of a request."""


def route_path(scope: Scope) -> str:
    """Returns the path below the mount prefix; never empty."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    return path or "/"


class Dispatcher:
    """The server's routes as an ASGI app.

    Args:
        operations: the routes.
        headers: which request headers go into `Caller.headers`.
        max_body: maximum size of a body in bytes.
        inside_own_app: whether errors are raised as HTTP exceptions, for the custom app's handlers, and not sent as responses.
    """

    def __init__(
        self, operations: Iterable[Operation], *, headers: HeaderRules, max_body: int, inside_own_app: bool = False
    ) -> None:
        operations = list(operations)
        self._matcher = Router(operations)
        self._system = {operation.path for operation in operations if operation.tag == "System"}
        self._wanted = header_filter(headers)
        self._max_body = max_body
        self._raises = inside_own_app

    def knows(self, path: str) -> bool:
        """Returns whether a path is one of the server's, for any method."""
        found = self._matcher.match("", path)
        return bool(found)

    def find(self, scope: Scope) -> tuple[Operation, dict[str, str]] | None:
        """Returns the route for a request (or, as POST, a web socket) with its path parameters, or None if there is none."""
        found = self._matcher.match(scope.get("method", "POST"), route_path(scope))
        return None if isinstance(found, set) else found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request."""
        try:
            answer = await self._answer(scope, receive)
        except EXPECTED as error:
            if self._raises and not isinstance(error, BadLabel):
                raise as_http(error) from error
            answer = response_to(error)
        except (HTTPException, ClientDisconnected):
            raise
        except Exception as error:
            if self._raises:
                raise
            log_bug(scope, error)
            answer = response_to_bug(scope["threadloom"].request_id)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        method: str = scope["method"]
        path = route_path(scope)
        found = self._matcher.match(method, path)
        if isinstance(found, set):
            return self._unmatched(scope, path, found)
        operation, params = found
        request_context: RequestContext = scope["threadloom"]
        request_context.template = operation.path
        if params:
            request_context.ids = {
                name: value for name, value in params.items() if name in LOGGED and value.isprintable()
            }
            bind(**request_context.ids)
        if self._wanted is not None:
            request_context.caller = msgspec.structs.replace(
                request_context.caller, headers=self._chosen(scope, self._wanted)
            )
        request = Request(scope, receive, params, self._max_body)
        try:
            with contained():  # the user's handlers, factories and reducers run in it
                return await operation.handler(request)
        finally:
            if request.large:
                let_go(request.large)

    def _unmatched(self, scope: Scope, path: str, methods: set[str]) -> ASGIApp:
        # Inside a custom app, a wrong method on a system route's path might be meant for the custom app, which has no such route:
        # 404.
        if methods and not (self._raises and path in self._system):
            allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
            if self._raises:
                raise HTTPException(405, "Method Not Allowed", {"allow": allowed})
            return Response(error_body("Method Not Allowed"), 405, [(b"allow", allowed.encode())])
        if len(path) > 1 and path.endswith("/") and self.knows(path.rstrip("/") or "/"):
            query = scope["query_string"]
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            target = b"/" + raw.split(b"?")[0].strip(b"/") + (b"?" + query if query else b"")
            return Response(b"", 307, [(b"location", target)], None)
        if self._raises:
            raise HTTPException(404, "Not Found")
        return Response(error_body("Not Found"), 404)

    def _chosen(self, scope: Scope, wanted: Callable[[str], bool]) -> dict[str, str]:
        chosen: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name = raw.decode("latin-1")
            if wanted(name):
                chosen[name] = value.decode("latin-1")
        return chosen


def header_filter(rules: HeaderRules) -> Callable[[str], bool] | None:
    """Returns a test of lower-case header names by the rules, or None if the rules select no header."""
    if not rules.includes:
        return None
    included, excluded = (
        re.compile("|".join(fnmatch.translate(name.lower()) for name in names) if names else r"(?!)")
        for names in (rules.includes, rules.excludes)
    )

    # Runs store these headers. A pattern could include credentials by mistake, so only their full names select them.
    unnamed = CREDENTIALS - {name.lower() for name in rules.includes}

    def wanted(name: str) -> bool:
        return included.match(name) is not None and excluded.match(name) is None and name not in unnamed

    return wanted
