"""HTTP connections: idle timeouts, and limits on the head and the body of a request before the app reads it."""

import asyncio
import json
import logging
import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

MAX_HEAD_BYTES = 64 * 1024
"""Limit of request line and headers together, in bytes, trailers included. nginx allows 40 kB, Apache 800 kB, Node 16 kB."""

MAX_HEADERS = 1000
"""Limit of headers. A thousand empty ones are small, but each layer of the server searches all of them."""

HEAD_SECONDS = 30.0
"""Seconds from the first byte of a head to its last."""

log = logging.getLogger("threadloom.http")

BODY_SECONDS = 60.0
"""Seconds without a byte of an incomplete body, as in nginx and Apache. While the app does not read what has arrived, the time
does not count.
"""

LINGER_SECONDS = 2.0
"""Seconds for which data from a refused client is read and dropped. Closing a socket with unread data resets the connection, and
the client may then lose the error response.
"""

_TOO_LARGE = (
    f"The request's line and headers are larger than {MAX_HEAD_BYTES} bytes, or more than {MAX_HEADERS} headers"
)
_STALLED = f"No more of the request's body arrived for {BODY_SECONDS:g} seconds"
_TOO_SLOW = f"The request's line and headers did not arrive within {HEAD_SECONDS:g} seconds"


class Connections(ServerState):
    """The state that a server's connections share.

    Attributes:
        draining: whether the server is about to stop. Each response then asks the client to close its connection, so that no
            request is sent on a connection that is closed a moment later.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draining = False

    def drain(self) -> None:
        """Marks the server as about to stop, also for requests that are not answered yet."""
        self.draining = True
        for connection in self.connections:
            if isinstance(connection, HttpProtocol):
                connection.close_after_answer()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the head of a request: its size (status 431) and its duration (408), and on the time
    without a byte of its body (408).

    The parser passes on parts of a head when they are complete, and buffers an incomplete one of any length. So this class counts
    the bytes of each read, which has no cost per header. It counts the parts only when the reads are large.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._data = b""
        self._reading = 0
        self._in_head = self._began = False
        self._first_read = 0
        """Bytes of the read in which the head began; some of them may precede the head."""
        self._head_bytes = 0
        """Bytes of the later reads. They belong to the head until it ends."""
        self._progress = False
        self._silent_bytes = 0
        """Bytes outside of heads and bodies: empty lines, trailers, chunk extensions."""
        self._too_large = False
        self._done = False
        """Whether incoming data must not reach the parser: the request was refused, or the connection is a web socket's."""
        self._deadline: asyncio.TimerHandle | None = None
        self._body_deadline: asyncio.TimerHandle | None = None
        self._heard = 0.0
        """When the last part of a body arrived."""

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Browsers and load balancers open connections before they need them; such a connection is idle like any other.
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        if self._body_deadline is not None:
            self._body_deadline.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._done:
            return
        self._data = data
        self._reading = len(data)
        self._progress = False
        super().data_received(data)
        if self._done or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += 0 if self._began else len(data)
            self._began = False
        else:
            self._silent_bytes = 0 if self._progress else self._silent_bytes + len(data)
        if self._too_large or self._head_bytes > MAX_HEAD_BYTES or self._silent_bytes > MAX_HEAD_BYTES:
            self._refuse(431, b"Request Header Fields Too Large", _TOO_LARGE)
        elif self._in_head or self._is_idle():
            if self._deadline is None:
                self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)
        elif self.cycle.more_body:
            self._heard = self.loop.time()
            if self._body_deadline is None:
                self._body_deadline = self.loop.call_later(BODY_SECONDS, self._look_whether_stalled)

    def handle_websocket_upgrade(self) -> None:
        if self._too_large:
            return  # it is refused when all data that was read is parsed
        self._done = True
        self._stop_clock()
        if self._has_body():  # the web socket's protocol would wait for ever
            self.send_400_response("A web socket is opened without a body.")
        else:
            super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        task = self.loop.create_task(_serve(cycle, app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def close_after_answer(self) -> None:
        """Closes the connection after the response to the newest request, if one is active."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _unsupported_upgrade_warning(self) -> None:
        """Handles an unsupported upgrade. Such an upgrade (`h2c`, which Java's client sends with each first request) is only an
        offer, so the request is handled like any other. But the parser stops at the end of its head, so a new parser gets the
        rest.
        """
        refused = sys.exc_info()[1]
        assert isinstance(refused, httptools.HttpParserUpgrade)
        rest = self._data[refused.args[0] :]
        if self._has_body():
            self.parser = httptools.HttpRequestParser(_AfterHead(self))
            framing = (b"content-length", b"transfer-encoding")
            lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] in framing]
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(lines))
        if rest:
            self._data = rest
            super().data_received(rest)

    # --- the parser's events ---

    def on_message_begin(self) -> None:
        self._in_head = self._began = True
        self._first_read = self._reading
        self._head_bytes = self._silent_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._progress = True
        self._stop_clock()
        self._too_large = self._too_large or self._is_too_large()
        if not self._too_large:
            super().on_headers_complete()
            if isinstance(self.server_state, Connections) and self.server_state.draining:
                self.close_after_answer()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        if not self._too_large:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        given_up = self.parser.should_upgrade() and not self._should_upgrade() and self._has_body()
        if not (self._too_large or given_up):
            super().on_message_complete()

    # --- refusing ---

    def _is_too_large(self) -> bool:
        """Returns whether the complete head is larger than the limits."""
        if len(self.headers) > MAX_HEADERS:
            return True
        if self._first_read + self._head_bytes + self._reading <= MAX_HEAD_BYTES:
            return False
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES

    def _has_body(self) -> bool:
        """Returns whether the newest head announces a body."""
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in self.headers
        )

    def _is_idle(self) -> bool:
        """Returns whether no request is active."""
        return self.cycle is None or self.cycle.response_complete

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._in_head:
            self._refuse(408, b"Request Timeout", _TOO_SLOW)
        elif not self.transport.is_closing():
            self.transport.close()  # empty lines, or the rest of a body that was answered

    def _look_whether_stalled(self) -> None:
        """Refuses a request whose body stopped arriving. If its response has begun, the app ends the request."""
        self._body_deadline = None
        cycle = self.cycle
        if (
            self._done
            or self._is_idle()
            or not cycle.more_body
            or cycle.response_started
            or self.transport.is_closing()
        ):
            return
        if self.flow.read_paused:
            self._heard = self.loop.time()
        left = self._heard + BODY_SECONDS - self.loop.time()
        if left > 0:
            self._body_deadline = self.loop.call_later(left, self._look_whether_stalled)
            return
        self._done = True
        cycle.disconnected = True  # tells the app that the client is gone
        cycle.message_event.set()
        self._say(408, b"Request Timeout", _STALLED)

    def _refuse(self, status: int, reason: bytes, detail: str) -> None:
        """Sends an error response and closes the connection. Complete earlier requests of the connection are answered first."""
        self._done = True
        self._stop_clock()
        self._unset_keepalive_if_required()
        if not self._is_idle():
            if self.cycle.more_body:
                self.transport.close()
            else:
                self.close_after_answer()
            return
        self._say(status, reason, detail)

    def _say(self, status: int, reason: bytes, detail: str) -> None:
        """Sends a response without the app, and closes the connection."""
        body = json.dumps({"detail": detail}).encode()
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, reason, len(body), body)
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


class _AfterHead:
    """Passes a parser's events to a protocol that already has the head of the first message."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._in_first_head = True
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if not self._in_first_head:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._in_first_head:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_first_head:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._in_first_head:
            self._in_first_head = False
        else:
            self._protocol.on_headers_complete()


async def _serve(cycle: RequestResponseCycle, app: Any) -> None:
    """Serves one request, as uvicorn's `run_asgi` does, but an error after the end of the response does not close the connection:
    the client may have sent its next request on it.

    A `GeneratorExit` from a thread of user code arrives here although the app has handled it: thrown into a task, it closes every
    coroutine of the task but the outermost, which is this one.
    """
    raised: BaseException | None = None
    try:
        await app(cycle.scope, cycle.receive, cycle.send)
    except BaseException as error:
        raised = error
        if not (isinstance(error, GeneratorExit) and cycle.response_complete):
            log.error("a request ended with an exception", exc_info=error)
    try:
        if cycle.response_complete or cycle.disconnected:
            return
        if cycle.response_started:
            if raised is None:
                log.error("a response was not completed")
            cycle.transport.close()
        else:
            if raised is None:
                log.error("a request was not answered")
            await cycle.send_500_response()
    finally:
        cycle.on_response = lambda: None
