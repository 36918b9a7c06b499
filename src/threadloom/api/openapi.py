"""The OpenAPI 3.1 description, generated from the route table and the request structs."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

import msgspec
from starlette.routing import BaseRoute, Mount, Route

import threadloom
from threadloom.api.routing import Operation
from threadloom.services.responses import DeletedThreadsResponse, ErrorResponse, RunErrorResponse

REF = "#/components/schemas/{name}"
NAMED = (DeletedThreadsResponse, ErrorResponse, RunErrorResponse)
"""Structs that the operations' own schemas refer to."""

_ID = {"type": "string", "format": "uuid"}
_WORDS = {
    204: "Done; no content.",
    202: "Accepted; no content.",
    400: "What was asked for cannot be done.",
    404: "Not found.",
    409: "In conflict with what is there.",
    413: "The body is too large.",
    422: "The request does not fit the interface.",
    424: "The graph is not valid.",
    429: "A limit a user is reached (`threadloom.limits`); see `Retry-After`.",
    500: "The server failed.",
    501: "Not available with this configuration.",
    503: "Not available now.",
}
_PATH_PARAMS: dict[str, dict[str, Any]] = {
    "assistant_id": {"type": "string", "description": "Id of an assistant."},
    "checkpoint_id": {"type": "string"},
    "namespace": {"type": "string", "description": "Names of subgraphs, joined by `|`."},
}


def document(
    operations: Iterable[Operation], *, own: Mapping[str, Any] | None = None, auth: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the description of all routes that are not hidden, without `servers`.

    Args:
        own: the description of a custom app; its paths and schemas are added, its paths take precedence.
        auth: `auth.openapi` of the configuration: `securitySchemes`, `security`, `paths`.
    """
    shown = [operation for operation in operations if not operation.hidden]
    bodies = [_struct(one.body) for one in shown if one.body is not None]
    results = [one.result for one in shown if one.result is not None]
    _, found = msgspec.json.schema_components(
        [*bodies, *results, *(one.error for one in shown), *NAMED], ref_template=REF
    )
    schemas: dict[str, Any] = {}
    for name, schema in found.items():
        # Paragraphs after the first one of a docstring are for developers of the server.
        schema["description"] = schema["description"].split("\n\n")[0]
        schemas[_public(name)] = _with_public_names(schema)
    for operation in shown:
        if _selects(operation):
            schemas[_public(_struct(operation.result).__name__)].pop("required", None)
    paths: dict[str, dict[str, Any]] = {}
    for operation in shown:
        path = operation.path.replace(":path}", "}")
        paths.setdefault(path, {})[operation.method.lower()] = describe(operation)
    components: dict[str, Any] = {"schemas": schemas}
    description: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Threadloom", "version": threadloom.__version__, "license": {"name": "MIT"}},
        "paths": paths,
        "components": components,
    }
    if auth:
        components["securitySchemes"] = dict(auth.get("securitySchemes") or {})
        description["security"] = list(auth.get("security") or [])
        for path, methods in (auth.get("paths") or {}).items():
            for method, security in methods.items():
                if method.lower() in paths.get(path, {}):
                    paths[path][method.lower()]["security"] = security
    if own:
        for path, item in own.get("paths", {}).items():
            paths[path] = {**paths.get(path, {}), **item}
        for kind, named in own.get("components", {}).items():
            components[kind] = {**named, **components.get(kind, {})}
    return description


def describe(operation: Operation) -> dict[str, Any]:
    """Returns the description of one operation."""
    shown: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": operation_id(operation),
        "responses": _responses(operation),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMS.get(name, _ID)}
        for name in names(operation)
    ]
    for param in operation.query:
        query: dict[str, Any] = {"name": param.name, "in": "query", "required": param.required, "schema": param.schema}
        if param.description:
            query["description"] = param.description
        parameters.append(query)
    if parameters:
        shown["parameters"] = parameters
    if operation.body is not None:
        schema: dict[str, Any] = {"$ref": REF.format(name=_struct(operation.body).__name__)}
        if get_origin(operation.body) is list:
            schema = {"type": "array", "items": schema, "minItems": 1}
        shown["requestBody"] = {
            "required": not operation.body_optional,
            "content": {"application/json": {"schema": schema}},
        }
    if operation.message is not None:
        shown["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.message}}}
    return shown


def names(operation: Operation) -> list[str]:
    """Returns the names of the parameters in an operation's path."""
    parts = operation.path.split("/")
    return [part.strip("{}").removesuffix(":path") for part in parts if part.startswith("{")]


def operation_id(operation: Operation) -> str:
    """Returns a unique id for an operation."""
    path = operation.path.replace(":path", "").replace("{", "").replace("}", "").replace("/", "_").replace(".", "_")
    return f"{operation.method.lower()}{path}".rstrip("_")


def of_starlette(routes: Iterable[BaseRoute], prefix: str = "") -> dict[str, Any]:
    """Returns a description of a plain Starlette app: the paths, methods and docstrings of its routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if isinstance(route, Mount):
            paths.update(of_starlette(route.routes, prefix + route.path)["paths"])
        elif isinstance(route, Route) and route.include_in_schema:
            text = (route.endpoint.__doc__ or route.name).strip()
            parameters = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in route.param_convertors
            ]
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                shown: dict[str, Any] = {
                    "tags": ["Own routes"],
                    "summary": text.splitlines()[0],
                    "responses": {"200": {"description": "Answer of the app."}},
                }
                if parameters:
                    shown["parameters"] = parameters
                paths.setdefault(prefix + route.path_format, {})[method.lower()] = shown
    return {"paths": paths}


def _schema(type_: Any) -> Any:
    (schema,), _ = msgspec.json.schema_components([type_], ref_template=REF)
    return _with_public_names(schema)


def _public(name: str) -> str:
    """Returns the name of a struct in the description."""
    return name.removesuffix("Response")


def _with_public_names(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _public(value) if key in ("$ref", "title") and isinstance(value, str) else _with_public_names(value)
            for key, value in schema.items()
        }
    return [_with_public_names(value) for value in schema] if isinstance(schema, list) else schema


def _selects(operation: Operation) -> bool:
    """Returns whether a request may select fields of the response."""
    fields = getattr(_struct(operation.body), "__struct_fields__", ())
    return "select" in fields or any(param.name == "select" for param in operation.query)


def _struct(body: Any) -> Any:
    return get_args(body)[0] if get_origin(body) is list else body


def _responses(operation: Operation) -> dict[str, Any]:
    statuses = {operation.status, *operation.errors, *operation.responses}
    if operation.error is ErrorResponse and (operation.body is not None or operation.query or names(operation)):
        statuses.add(422)
    if operation.body is not None or operation.message is not None:
        statuses.add(413)
    return {str(status): _response(operation, status) for status in sorted(statuses)}


def _response(operation: Operation, status: int) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if status == operation.status and operation.result is not None:
        content[operation.media] = _schema(operation.result)
    elif status >= 400:
        content["application/json"] = _schema(operation.error if status in operation.errors else ErrorResponse)
    content.update(operation.responses.get(status, {}))
    shown: dict[str, Any] = {"description": "Done." if status < 300 else _WORDS[status]}
    if content:
        shown["content"] = {media: {"schema": schema} for media, schema in content.items()}
    return shown
