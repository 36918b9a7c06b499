"""Assistants as MCP tools: listed with their input schemas, and called as stateless runs."""

import logging
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

from threadloom.codec import from_json
from threadloom.errors import ApiError, Invalid
from threadloom.services.input_schema import as_object, fields, with_field
from threadloom.services.requests import AssistantSearch, RunCreate
from threadloom.types import Assistant, Caller

if TYPE_CHECKING:
    from threadloom.services import Services

log = logging.getLogger("threadloom.mcp")

PAGE = 100
"""Assistants per page of the list."""

CALLABLE = 1000
"""How many assistants with a similar name are read to find the tool of a call."""

MESSAGES = {"type": "string", "title": "Messages", "description": "The user message to send to the agent."}
"""The schema of the field `messages`: models often fail to fill in LangChain's message types."""


class UnknownTool(Invalid):
    """No assistant that the caller may search has this name."""


class McpService:
    """The methods of MCP, on top of the other services."""

    def __init__(self, services: "Services") -> None:
        self._services = services

    async def tools(self, caller: Caller, cursor: Any) -> dict[str, Any]:
        """Returns a page of tools, one per assistant. Of several assistants with the same name, the newest is shown.

        Args:
            cursor: offset of the page, as a text or a number; 0 if it is neither.
        """
        offset = _offset(cursor)
        shown = {one.name async for one in self._assistants(caller, offset)}
        request = AssistantSearch(limit=PAGE, offset=offset)
        found, following, _ = await self._services.assistants.search(caller, request)
        tools: list[dict[str, Any]] = []
        for assistant in found:
            if assistant.name not in shown:
                shown.add(assistant.name)
                tool = await self._tool(caller, assistant)
                tools += [tool] if tool else []
        return {"tools": tools} if following is None else {"tools": tools, "nextCursor": str(following)}

    async def call(self, caller: Caller, name: Any, arguments: dict[str, Any]) -> Awaitable[dict[str, Any]]:
        """Starts a stateless run of the assistant with this name. Awaiting the result returns the tool's result.

        Raises:
            UnknownTool: there is no such assistant.
            ApiError: the run cannot be created, as `RunStartService.create`.
        """
        assistant = await self._named(caller, name)
        if isinstance(arguments.get("messages"), str):
            schema = await self._input_schema(caller, assistant)
            if schema is None or fields(schema).get("messages", {}).get("type") != "string":
                arguments = {**arguments, "messages": [{"role": "user", "content": arguments["messages"]}]}
        request = RunCreate(assistant_id=assistant.assistant_id, input=arguments)
        _, output = await self._services.streams.wait(caller, None, request)
        return _result(output)

    async def _assistants(self, caller: Caller, upto: int) -> AsyncIterator[Assistant]:
        """Yields the `upto` newest assistants."""
        at = 0
        while at < upto:
            request = AssistantSearch(limit=min(PAGE, upto - at), offset=at)
            found, following, _ = await self._services.assistants.search(caller, request)
            for assistant in found:
                yield assistant
            if following is None:
                return
            at = following

    async def _named(self, caller: Caller, name: Any) -> Assistant:
        if isinstance(name, str):
            request = AssistantSearch(name=name, limit=CALLABLE)
            found, _, _ = await self._services.assistants.search(caller, request)
            for assistant in found:
                if assistant.name == name:
                    return assistant
        raise UnknownTool(f"Unknown tool: {name}")

    async def _tool(self, caller: Caller, assistant: Assistant) -> dict[str, Any] | None:
        """Returns the assistant as a tool, or None if the caller may not read it."""
        try:
            await self._services.assistants.get(caller, assistant.assistant_id)
        except ApiError as refused:
            if refused.status >= 500:
                raise
            return None
        schema = as_object(await self._input_schema(caller, assistant))
        if "messages" in schema.get("properties", {}):
            schema = with_field(schema, "messages", MESSAGES)
        return {
            "name": assistant.name,
            "title": assistant.name,
            "description": assistant.description or f"Tool based on the {assistant.name} assistant",
            "inputSchema": schema,
            "annotations": {
                "readOnlyHint": False,
                "destructiveHint": False,
                "idempotentHint": False,
                "openWorldHint": True,
            },
        }

    async def _input_schema(self, caller: Caller, assistant: Assistant) -> dict[str, Any] | None:
        try:
            return await self._services.assistants.input_schema(caller, assistant)
        except Exception:
            # A user's factory may raise anything. The tool can be called all the same, and then reports the error.
            log.warning("the input of assistant %s cannot be told", assistant.assistant_id, exc_info=True)
            return None


async def _result(output: Awaitable[bytes]) -> dict[str, Any]:
    text = await output
    value = from_json(text)
    if isinstance(value, dict) and "__error__" in value:
        return {"isError": True, "content": [{"type": "text", "text": value["__error__"]["error"]}]}
    result: dict[str, Any] = {"content": [{"type": "text", "text": text.decode()}]}
    if isinstance(value, dict):
        result["structuredContent"] = value
    return result


def _offset(cursor: Any) -> int:
    if isinstance(cursor, str) and cursor.isascii() and cursor.isdigit() and len(cursor) <= 18:
        cursor = int(cursor)
    return cursor if isinstance(cursor, int) and not isinstance(cursor, bool) and 0 <= cursor < 2**62 else 0
