"""Streaming responses: event streams, and JSON that is sent when a run has ended.

Both notice at once when the client disconnects. They then close the iterator or cancel the awaitable, and so notify the services.
For a slow reader, both wait and do not buffer.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Sequence

import orjson
from starlette.types import Receive, Scope, Send

from threadloom.api.http import JSON, RawHeaders
from threadloom.broker.base import EventsMissed
from threadloom.errors import ApiError
from threadloom.types import Event

log = logging.getLogger(__name__)

LEAVING = "threadloom.leaving"
"""Key in the scope of an `asyncio.Event`. It is set when the process accepts no more requests and is about to end."""

PIECE = 256 * 1024
"""Maximum number of bytes of a stream in one message."""

HEARTBEAT_SECONDS = 5.0
"""Seconds of silence after which a heartbeat is sent."""

EVENT_HEADERS: RawHeaders = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
]


def frame(event: Event, ids: bool = True) -> bytes:
    """Returns an event in SSE format, with its id if it has one and `ids` is set."""
    if ids and event.ms:
        return b"event: %b\r\ndata: %b\r\nid: %d-%d\r\n\r\n" % (event.name.encode(), event.data, event.ms, event.n)
    return b"event: %b\r\ndata: %b\r\n\r\n" % (event.name.encode(), event.data)


def error_frame(error: Exception) -> bytes:
    """Returns an `error` event for the error that ended a stream. Only errors that are meant for callers show their text."""
    if isinstance(error, ApiError):
        payload = {"error": "HTTPException", "message": f"{error.status}: {error.detail}"}
    elif isinstance(error, EventsMissed):
        payload = {"error": type(error).__name__, "message": str(error)}
    else:
        payload = {"error": type(error).__name__, "message": "An internal error occurred"}
    return b"event: error\r\ndata: %b\r\n\r\n" % orjson.dumps(payload)


class StreamingResponse(ABC):
    """Base of both kinds: sends headers at once, heartbeats during silence, and stops when the client disconnects."""

    heartbeat: bytes
    endless = False

    def __init__(self, headers: RawHeaders, seconds: float, status: int = 200) -> None:
        self.headers = headers
        self.seconds = seconds
        self.status = status
        self._sent = 0.0
        self._putting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the end or until the client disconnects."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        loop = asyncio.get_running_loop()
        self._sent = loop.time()
        if scope["method"] == "HEAD":
            await asyncio.sleep(0)  # the source of the parts must have started before it can be closed
            await self.close()
            await send({"type": "http.response.body", "body": b""})
            return
        work = loop.create_task(self.work(send))
        left = loop.create_task(_hung_up(receive))
        waits = {work, left}
        if self.endless and LEAVING in scope:
            waits.add(loop.create_task(scope[LEAVING].wait()))
        try:
            while not any(task.done() for task in waits):
                quiet = loop.time() - self._sent
                if self._putting:
                    quiet = 0.0  # the client is slow: a heartbeat would interrupt the part that is being sent
                elif quiet >= self.seconds:
                    await self.put(send, self.heartbeat)
                    quiet = 0.0
                await asyncio.wait(waits, timeout=self.seconds - quiet, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaves = not (work.done() or left.done())
            for task in waits:
                task.cancel()
            if not work.done():
                await asyncio.gather(work, return_exceptions=True)
            await self.close()
        if not work.cancelled():
            work.result()
        elif leaves:
            await self.put(send, b"", last=True)

    async def put(self, send: Send, body: bytes, *, last: bool = False) -> None:
        """Sends a part, as fast as the client reads."""
        self._putting += 1
        # The ASGI server keeps a message in memory until the client has read it, so messages are small.
        for start in range(0, max(len(body), 1), PIECE):
            more = not last or start + PIECE < len(body)
            await send({"type": "http.response.body", "body": body[start : start + PIECE], "more_body": more})
        self._sent = asyncio.get_running_loop().time()
        self._putting -= 1

    @abstractmethod
    async def work(self, send: Send) -> None:
        """Sends the body's parts. The last one is marked as the last."""

    @abstractmethod
    async def close(self) -> None:
        """Closes the source of the parts."""


class EventStreamResponse(StreamingResponse):
    """An event stream. The events of one batch are sent in one message.

    Args:
        batches: the source of the events; closed when the client disconnects.
        headers: in addition to those of every event stream.
        ids: whether the events' ids are sent.
        endless: whether it has no end of its own. If so, it ends when the process is about to end.
        seconds: silence after which a heartbeat is sent.
    """

    heartbeat = b": heartbeat\r\n\r\n"

    def __init__(
        self,
        batches: AsyncIterator[Sequence[Event]],
        headers: RawHeaders | None = None,
        *,
        ids: bool = True,
        endless: bool = False,
        seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__(EVENT_HEADERS + (headers or []), seconds)
        self.endless = endless
        self.batches = batches
        self.ids = ids

    async def work(self, send: Send) -> None:
        try:
            async for batch in self.batches:
                if batch:
                    await self.put(send, b"".join([self.shown(event) for event in batch]))
        except Exception as error:
            if isinstance(error, EventsMissed):
                log.warning("an event stream ended early: %s", error)
            elif not isinstance(error, ApiError):
                log.exception("an event stream ended early")
            await self.put(send, error_frame(error))
        await self.put(send, b"", last=True)

    def shown(self, event: Event) -> bytes:
        """Returns an event in SSE format."""
        return frame(event, self.ids)

    async def close(self) -> None:
        close = getattr(self.batches, "aclose", None)
        if close is not None:
            await close()


class DeferredJsonResponse(StreamingResponse):
    """A JSON response that is sent when a run has ended. Newlines before it keep proxies from closing the connection.

    Args:
        output: returns the JSON text; cancelled when the client disconnects.
        headers: in addition to the content type.
        seconds: silence after which a newline is sent.
    """

    heartbeat = b"\n"

    def __init__(
        self, output: Awaitable[bytes], headers: RawHeaders | None = None, *, seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        super().__init__([JSON, *(headers or [])], seconds)
        self.output = asyncio.ensure_future(output)

    async def work(self, send: Send) -> None:
        try:
            body = await self.output
        except ApiError as error:
            payload = {"error": "HTTPException", "message": f"{error.status}: {error.detail}"}
            body = orjson.dumps({"__error__": payload})
        except Exception as error:
            log.exception("waiting for a run ended early")
            payload = {"error": type(error).__name__, "message": "An internal error occurred"}
            body = orjson.dumps({"__error__": payload})
        await self.put(send, body, last=True)

    async def close(self) -> None:
        if not self.output.done():
            self.output.cancel()
            await asyncio.gather(self.output, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
