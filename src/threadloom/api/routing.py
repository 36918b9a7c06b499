"""The server's routes, declared as data. The router and the OpenAPI description are both made from them."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

import msgspec
from starlette.types import ASGIApp

from threadloom.api.http import Request
from threadloom.codec import ResponseBody
from threadloom.services.responses import ErrorResponse

Handler = Callable[[Request], Awaitable[ASGIApp]]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Group = Literal["assistants", "threads", "runs", "store", "mcp", "a2a", "ui", "event_streaming", "meta", "webhooks", ""]
"""Routes that a `disable_…` setting disables together; "" cannot be disabled."""


class Param(msgspec.Struct, frozen=True):
    """A query parameter, for the OpenAPI description. `schema` is JSON Schema."""

    name: str
    schema: dict[str, Any]
    description: str = ""
    required: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path.

    Attributes:
        path: with parameters in braces; `{name:path}` matches the rest.
        handler: takes a `Request` and returns an ASGI response; raises `errors.ApiError`.
        summary: one line for the description.
        body: the request struct, or `list` of it.
        body_optional: whether the body may be absent.
        message: JSON Schema of a body that is no request struct, as in protocols with their own envelope.
        query: the query parameters.
        result: content of a successful response: a struct of `services.responses`, a list of it, or another type; None for an
            empty response.
        status: of a successful response.
        media: content type of a successful response.
        errors: statuses of its error responses, in addition to 422 and 500.
        told: responses of other content types: status -> media type -> schema.
        error: the struct of the responses with the statuses in `errors`.
        hidden: whether it is left out of the description.
    """

    method: Method
    path: str
    handler: Handler
    tag: str
    group: Group
    summary: str
    body: Any = None
    body_optional: bool = False
    message: dict[str, Any] | None = None
    query: tuple[Param, ...] = ()
    result: Any = None
    status: int = 200
    media: str = "application/json"
    errors: tuple[int, ...] = ()
    responses: dict[int, dict[str, dict[str, Any]]] = {}
    error: type[ResponseBody] = ErrorResponse
    hidden: bool = False


def of_a_thread(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
    """Returns a route of one thread. `path` is what follows the thread's id; `more` are further fields of the operation."""
    return Operation(
        method=method,
        path="/threads/{thread_id}" + path,
        handler=handler,
        summary=summary,
        tag="Threads",
        group="threads",
        **more,
    )


class _Node:
    __slots__ = ("literal", "name", "operations", "param", "tail")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.param: _Node | None = None
        self.name = ""
        self.tail: _Node | None = None
        self.operations: dict[str, Operation] = {}


class Router:
    """Finds the operation of a path by its segments. The time for it does not depend on the number of routes.

    Where a fixed segment and a parameter both match, the fixed one takes precedence if it has the method; else the parameter is
    tried.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            self._add(operation)

    def match(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | set[str]:
        """Returns the operation and the path's parameters. If the method does not match, returns the methods of the path (empty:
        unknown path).
        """
        segments = path.split("/")[1:]
        methods: set[str] = set()
        wanted = "GET" if method == "HEAD" else method
        found = self._find(self._root, segments, 0, wanted, methods)
        if found is None:
            return methods
        operation, values = found
        return operation, dict(values)

    def _add(self, operation: Operation) -> None:
        node = self._root
        for segment in operation.path.split("/")[1:]:
            if not segment.startswith("{"):
                node = node.literal.setdefault(segment, _Node())
                continue
            name = segment.strip("{}")
            if name.endswith(":path"):
                node.tail = node.tail or _Node()
                node = node.tail
                node.name = name.removesuffix(":path")
            else:
                node.param = node.param or _Node()
                node = node.param
                node.name = name
        assert operation.method not in node.operations, operation
        node.operations[operation.method] = operation

    def _find(
        self, node: _Node, segments: list[str], at: int, method: str, methods: set[str]
    ) -> tuple[Operation, list[tuple[str, str]]] | None:
        if at == len(segments):
            operation = node.operations.get(method)
            if operation is None:
                methods.update(node.operations)
                return None
            return operation, []
        segment = segments[at]
        below = node.literal.get(segment)
        if below is not None:
            found = self._find(below, segments, at + 1, method, methods)
            if found is not None:
                return found
        if node.param is not None and segment:
            found = self._find(node.param, segments, at + 1, method, methods)
            if found is not None:
                found[1].append((node.param.name, segment))
                return found
        if node.tail is not None and segment:
            operation = node.tail.operations.get(method)
            if operation is not None:
                return operation, [(node.tail.name, "/".join(segments[at:]))]
            methods.update(node.tail.operations)
        return None
