"""A proxy for tests: hands connections to several servers in turn, and can cut them all, or let nobody through."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Sequence
from typing import Any

Place = tuple[str, int]

HEAD_BYTES = 256 * 1024
ASK_SECONDS = 0.1


class Proxy:
    """Listens on a free port of this machine, on a thread of its own; use as a context manager.

    Args:
        places: host and port of each server. One that refuses is passed over.
        http: every request gets a connection of its own, so that each goes to the next server, whatever the client keeps
            open. Web sockets are let be. Servers are asked at `/ok` whether requests should come to them.
        port: where to listen; 0 for any free port.
    """

    def __init__(self, places: Sequence[Place], *, http: bool = False, port: int = 0) -> None:
        self.places = list(places)
        self.port = port
        self._http = http
        self._next = 0
        self._closed = False
        self._open: set[asyncio.StreamWriter] = set()
        self._unready: set[Place] = set()
        self._loop = asyncio.new_event_loop()
        self._server: Any = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=HEAD_BYTES))
        self.port = self._server.sockets[0].getsockname()[1]
        if self._http:
            for place in self.places:
                asyncio.run_coroutine_threadsafe(self._ask_forever(place), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        async def ending() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.cut(closed=True)
        self._do(ending())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, *, closed: bool = False) -> None:
        """Breaks all connections. `closed`: new ones are broken too, until `let`."""

        async def cutting() -> None:
            self._closed = closed
            for writer in tuple(self._open):
                writer.transport.abort()

        self._do(cutting())

    def let(self) -> None:
        """Lets connections through again."""
        self._closed = False

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = await self._head(reader) if self._http else b""
            if not self._closed:
                await self._serve(reader, writer, head)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        if re.search(rb"\r\nupgrade:", head, re.IGNORECASE):
            return head
        head = re.sub(rb"\r\n(connection|keep-alive):[^\r]*", b"", head, flags=re.IGNORECASE)
        return head[:-2] + b"connection: close\r\n\r\n"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        there_reader, there = await self._next_server()
        self._open.add(there)
        try:
            there.write(head)
            up = asyncio.create_task(_pump(reader, there))
            down = asyncio.create_task(_pump(there_reader, writer))
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            if down.done():
                writer.close()
                await writer.wait_closed()
            up.cancel()
            down.cancel()
        finally:
            self._open.discard(there)
            there.transport.abort()

    async def _ask_forever(self, place: Place) -> None:
        while True:
            ready = False
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2):
                    reader, writer = await asyncio.open_connection(*place)
                    writer.write(b"GET /ok HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    ready = b" 200 " in await reader.readline()
                    writer.close()
            (self._unready.discard if ready else self._unready.add)(place)
            await asyncio.sleep(ASK_SECONDS)

    async def _next_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._next += 1
        order = self.places[self._next % len(self.places) :] + self.places[: self._next % len(self.places)]
        # Who says that it is not ready is asked when nobody else is left.
        for place in sorted(order, key=lambda place: place in self._unready):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(*place)
        raise ConnectionRefusedError


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
