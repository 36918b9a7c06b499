"""JSON-RPC 2.0 over HTTP, shared by MCP and A2A."""

from typing import Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

BODY: dict[str, Any] = {
    "type": "object",
    "description": "A JSON-RPC 2.0 message.",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "number", "null"]},
        "method": {"type": "string"},
        "params": {"type": "object"},
    },
    "required": ["jsonrpc", "method"],
}


def success(id_: Any, result: Any) -> dict[str, Any]:
    """Returns the response to a request that succeeded."""
    return {"jsonrpc": "2.0", "id": id_, "result": result}


def failure(id_: Any, code: int, message: str, data: Any = None) -> dict[str, Any]:
    """Returns the response to a request that failed."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": id_, "error": error}


def accepts(header: str | None, *types: str) -> bool:
    """Returns whether an `Accept` header accepts one of the media types. A missing or empty header accepts all."""
    if not header or not header.strip():
        return True
    ranges = {part.split(";")[0].strip().lower() for part in header.split(",")}
    return any({"*/*", media, media.split("/")[0] + "/*"} & ranges for media in types)
