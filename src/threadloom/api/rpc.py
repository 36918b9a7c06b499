"""JSON-RPC 2.0 over HTTP: what MCP and A2A share."""

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
    """The answer to a request that went well."""
    return {"jsonrpc": "2.0", "id": id_, "result": result}


def failure(id_: Any, code: int, message: str, data: Any = None) -> dict[str, Any]:
    """The answer to a request that did not."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": id_, "error": error}


def accepts(header: str | None, *types: str) -> bool:
    """Whether an `Accept` header lets one of the media types through. A missing or empty one lets everything through."""
    if not header or not header.strip():
        return True
    ranges = {part.split(";")[0].strip().lower() for part in header.split(",")}
    return any({"*/*", media, media.split("/")[0] + "/*"} & ranges for media in types)
