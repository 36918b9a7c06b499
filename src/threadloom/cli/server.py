"""Runs the app under uvicorn: start, serving, and a clean end within seconds."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from threadloom.cli import restart
from threadloom.cli.connections import Connections, HttpProtocol
from threadloom.cli.supervisor import STOP_SIGNALS
from threadloom.errors import StartError, ThreadloomError
from threadloom.usercode import run_until_done

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def serve(
    app: ASGIApp,
    listening: socket.socket,
    *,
    grace: float,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None] = lambda: None,
    on_leave: Callable[[], None] = lambda: None,
    drain: float = 0,
    keep_alive: int,
    certificate: Path | None = None,
    key: Path | None = None,
) -> bool:
    """Serves until SIGINT or SIGTERM. A second signal does not wait for open requests.

    Args:
        listening: the listening socket. Closed when the server stops accepting, so that clients are refused and need not wait in
            vain.
        grace: seconds, from the signal on, for open requests and streams to end by themselves.
        on_ready: called once requests are answered.
        on_stop: called on the event loop as soon as the process was told to stop.
        on_leave: called on the event loop when the server stops accepting requests.
        drain: seconds for which requests are still accepted after SIGTERM, so that load balancers notice first.
        keep_alive: seconds that a connection without a request stays open.
        certificate, key: files for HTTPS.

    Returns:
        whether to restart (`restart.SIGNAL`); `listening` then still listens.

    Raises:
        ThreadloomError: the app's lifespan failed at the start with this error.
        StartError: it failed for another reason.
    """
    watched = _WatchedLifespan(app)
    config = uvicorn.Config(
        watched,
        loop="uvloop" if sys.platform != "win32" else "auto",
        http=HttpProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=max(1, round(grace)),
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise StartError(f"HTTPS cannot be served with {certificate} and {key}: {error}") from error
    server = _Server(config, listening, on_ready, on_stop, on_leave, grace, drain)
    runner = asyncio.Runner(loop_factory=config.get_loop_factory())
    try:
        loop = runner.get_loop()
        run_until_done(loop, loop.create_task(server.serve(sockets=[listening.dup()])))
    finally:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):  # from tasks of user code that are being cancelled
            runner.close()
    if not server.started:
        raise watched.failure() or StartError("the server was stopped before it was ready")
    return server.again


class _Server(uvicorn.Server):
    """uvicorn's server. It reports when it is ready, and exits with this program's status instead of the signal's."""

    def __init__(
        self,
        config: uvicorn.Config,
        listening: socket.socket,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        on_leave: Callable[[], None],
        grace: float,
        drain: float,
    ) -> None:
        super().__init__(config)
        self.server_state = self._connections = Connections()
        self._listening = listening
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._on_leave = on_leave
        self._grace = grace
        self._drain = drain
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: float | None = None
        self.again = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(SystemExit):  # a lifespan that failed: `serve` reports it
            await super().startup(sockets)
        if self.started:
            self._on_ready()
        else:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_leave()
        if not self.again:
            self._listening.close()
        passed = 0.0 if self._told is None else time.monotonic() - self._told
        self.config.timeout_graceful_shutdown = max(1, round(self._grace - passed))
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = self._told is None
        if first:
            self._told = time.monotonic()
            self._begin_drain()
        if first and self.started and self._loop is not None and sig == signal.SIGTERM and self._drain:
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain, super().handle_exit, sig, frame)
        else:
            super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        if restart.SIGNAL is not None:
            before[restart.SIGNAL] = signal.signal(restart.SIGNAL, self._begin_again)
        try:
            yield
        finally:
            for number, handler in before.items():
                # A second request to restart must not kill the process while it ends.
                signal.signal(number, signal.SIG_IGN if number is restart.SIGNAL else handler)

    def _begin_again(self, number: int, frame: object) -> None:
        if self._told is not None:
            return  # the server is already stopping
        self.again = True
        self._told = time.monotonic()
        self._begin_drain()
        self.should_exit = True

    def _begin_drain(self) -> None:
        """Marks the server as about to stop. Called in a signal's handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._connections.drain)
            self._loop.call_soon_threadsafe(self._on_stop)


class _WatchedLifespan:
    """The app. It keeps the error of a failed start, instead of uvicorn printing a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._error: BaseException | None = None
        self._told: str | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            # Only uvicorn cancels a request: when the server stops and the grace for open streams has ended.
            with contextlib.suppress(asyncio.CancelledError):
                await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                self._told = message.get("message")
                message = {"type": message["type"], "message": ""}
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except BaseException as error:
            self._error = error
            raise

    def failure(self) -> Exception | None:
        """The error of a failed start; None if it did not fail."""
        error: Any = self._error
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, ThreadloomError):
            return error
        if self._told or error is not None:
            return StartError(f"the app did not start: {(self._told or repr(error)).rstrip()}")
        return None
