"""`get_client()` without a URL: the SDK calls the server in whose process it runs, without a network.

The SDK looks for the server's ASGI app and for an HTTP transport under two fixed module names. `install` registers modules under
these names before user code is loaded. `connect` sets their app once it exists.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import httpx
from langgraph_sdk._shared.utilities import configure_loopback_transports
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TRUSTED = "threadloom.trusted"
"""Key in the scope of a call from inside the process."""


_within: ContextVar[tuple[ASGIApp, str] | None] = ContextVar("threadloom_within", default=None)


class Loopback:
    """The server's app for calls from inside the process: calls are trusted and get the mount prefix."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.prefix = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards a call to the server's app.

        Raises:
            RuntimeError: the server does not exist yet.
        """
        app, prefix = _within.get() or (self.app, self.prefix)
        if app is None:
            raise RuntimeError("The server has not started yet")
        path = prefix + scope["path"]
        inside = {**scope, "path": path, "raw_path": path.encode(), "root_path": "", TRUSTED: True}
        await app(inside, receive, send)


class Transport(httpx.AsyncBaseTransport):
    """Calls an ASGI app as if over HTTP. Parts of the response are returned as they arrive.

    Args:
        app: the app; may be set later.
        root_path: ignored; the SDK passes it.
    """

    def __init__(self, app: Any = None, root_path: str = "", **_: Any) -> None:
        self.app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Makes one call in a task of its own, so that the caller's context variables do not reach the server."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        body = b"".join([part async for part in request.stream])
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": ("127.0.0.1", 0),
            "root_path": "",
        }
        answer = _Answer(self.app or LOOPBACK, scope, body)
        status, headers = await answer.start()
        return httpx.Response(status, headers=headers, stream=answer)


class _Answer(httpx.AsyncByteStream):
    """The response to one call: a small queue between the app's task and the reader."""

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=8)
        self._left = asyncio.Event()
        self._body: bytes | None = body
        self._task = asyncio.get_running_loop().create_task(self._run(app, scope))

    async def start(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Returns status and headers as soon as they are known."""
        try:
            message = await self._messages.get()
        except BaseException:
            await self.aclose()
            raise
        if message is None:
            await self._task
            raise httpx.ReadError("The server gave no answer")
        return message["status"], list(message["headers"])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._messages.get()) is not None:
            yield message.get("body", b"")
            if not message.get("more_body"):
                return

    async def aclose(self) -> None:
        """Disconnects."""
        self._left.set()
        while not self._messages.empty():
            self._messages.get_nowait()
        if not self._task.done():
            await asyncio.wait((self._task,), timeout=1)
            self._task.cancel()

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            if not self._left.is_set():
                await self._messages.put(None)

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self._left.is_set():
            await self._messages.put(message)


LOOPBACK = Loopback()


def install() -> None:
    """Makes the SDK find the server in its process. Call it before user code is imported. It is idempotent."""
    if getattr(sys.modules.get("langgraph_api"), "__threadloom__", False):
        return
    package, server, transport = (
        ModuleType(name) for name in ("langgraph_api", "langgraph_api.server", "langgraph_api.asgi_transport")
    )
    package.__dict__.update(__path__=[], __threadloom__=True, server=server, asgi_transport=transport)
    server.__dict__.update(app=LOOPBACK)
    transport.__dict__.update(ASGITransport=Transport)
    for module in (package, server, transport):
        sys.modules[module.__name__] = module


def connect(app: ASGIApp, prefix: str) -> None:
    """Sets the app for calls from inside the process, also for clients that were made before."""
    install()
    LOOPBACK.app = app
    LOOPBACK.prefix = prefix
    configure_loopback_transports(LOOPBACK)


@contextlib.contextmanager
def within(app: ASGIApp, prefix: str) -> Iterator[None]:
    """Within the block, and in the tasks that start there, this app serves calls from inside the process. It is for an app that
    is ready, but does not serve other requests yet.
    """
    token = _within.set((app, prefix))
    try:
        yield
    finally:
        _within.reset(token)
