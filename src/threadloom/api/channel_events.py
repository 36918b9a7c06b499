"""Routes of the v2 event stream: events by HTTP, commands. The web socket is in `channel_socket`."""

from typing import Any

from starlette.types import ASGIApp, Send

from threadloom.api.http import Request, Response, json_response
from threadloom.api.routing import Operation
from threadloom.api.sse import HEARTBEAT_SECONDS, EventStreamResponse
from threadloom.codec import to_json
from threadloom.errors import BadRequest, Invalid
from threadloom.services import Services
from threadloom.services.event_filter import CHANNELS, EventFilter, read_filter
from threadloom.services.event_stream import EventFeed, envelope
from threadloom.services.protocol_params import NotACommand, Refused, failure, read_command, success
from threadloom.services.responses import ProtocolErrorResponse
from threadloom.types import Event

NOT_JSON = "Invalid JSON body"
GAP = "resume_gap"

FILTER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["channels"],
    "properties": {
        "channels": {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"enum": list(CHANNELS)}, {"type": "string", "pattern": "^custom:.+"}]},
        },
        "namespaces": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        "depth": {"type": "integer", "minimum": 0},
        "since": {"type": "integer", "minimum": 0},
    },
}
COMMAND_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["id", "method"],
    "properties": {
        "id": {"type": "integer", "minimum": 0},
        "method": {"type": "string"},
        "params": {"type": "object"},
    },
}


class ChannelStreamResponse(EventStreamResponse):
    """The event stream of a thread. It has no end of its own."""

    def __init__(self, feed: EventFeed, wanted: EventFilter, seconds: float) -> None:
        super().__init__(feed, endless=True, seconds=seconds)
        self._gap = gap_notice(wanted) if feed.gap else None

    async def work(self, send: Send) -> None:
        if self._gap is not None:
            await self.put(send, b"event: error\r\ndata: %b\r\n\r\n" % self._gap)
        await super().work(send)

    def shown(self, event: Event) -> bytes:
        return b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (event.name.encode(), envelope(event), event.seq)


def gap_notice(wanted: EventFilter) -> bytes:
    """Returns the error for a reader whose cursor is older than the oldest stored event. The stream continues with the stored
    events.
    """
    message = f"Events after {wanted.since} are no longer stored; the stream goes on with those that are"
    return to_json({"type": "error", "id": None, "error": GAP, "message": message})


class ChannelEventRoutes:
    """Request handlers of the v2 event stream's routes."""

    def __init__(self, services: Services, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.services = services
        self.heartbeat = heartbeat

    async def stream(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        wanted = read_filter(await _json(request))
        feed = await self.services.events.open(request.caller, thread_id, wanted)
        return ChannelStreamResponse(feed, wanted, self.heartbeat)

    async def command(self, request: Request) -> Response:
        thread_id = request.id("thread")
        try:
            command = read_command(await _json(request))
        except NotACommand as refused:
            return json_response(failure(refused.id, refused), 400)
        try:
            done = await self.services.commands.execute(request.caller, thread_id, command)
        except Refused as refused:
            return json_response(failure(command.id, refused))
        return json_response(success(command, done.result, done.seq))

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="POST",
                path="/threads/{thread_id}/stream/events",
                handler=self.stream,
                tag="Event streaming",
                group="event_streaming",
                summary="Follow a thread's events, of all its v2 runs; the same path upgraded is a web socket.",
                message=FILTER_SCHEMA,
                media="text/event-stream",
                result=str,
                errors=(400, 404, 429),
            ),
            Operation(
                method="POST",
                path="/threads/{thread_id}/commands",
                handler=self.command,
                tag="Event streaming",
                group="event_streaming",
                summary="Start a run, answer an interrupt, look at agents or state: one command of the v2 protocol.",
                message=COMMAND_SCHEMA,
                result=dict[str, Any],
                errors=(400, 422),
                error=ProtocolErrorResponse,
            ),
        ]


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except Invalid:
        raise BadRequest(NOT_JSON) from None
