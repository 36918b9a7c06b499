"""The processes that one `threadloom serve --workers N` started. Each of them can expose the metrics of all.

A scrape reaches whichever process accepts the connection. Therefore each process listens on a Unix socket in a folder of the
supervisor, and sends its counts to the process that asks.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

log = logging.getLogger("threadloom.peers")

SECONDS = 2.0
"""Seconds that a process has for its response. A process that does not respond is left out, and a warning names it."""


class PeerProcesses:
    """One process among those of a supervisor.

    Args:
        folder: the folder of the sockets; only the user that runs the server may enter it.
        name: the name of this process.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._folder = folder

    @contextlib.asynccontextmanager
    async def answering(self, tell: Callable[[], bytes]) -> AsyncIterator[None]:
        """Within the block, sends the current result of `tell` to each process that asks."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(tell())
                await writer.drain()
                writer.close()

        socket = self._folder / self.name
        socket.unlink(missing_ok=True)  # left over from a process that was killed
        async with await asyncio.start_unix_server(answer, socket):
            yield
        socket.unlink(missing_ok=True)

    async def others(self) -> dict[str, bytes]:
        """Returns the reports of the other processes by name. Processes that have ended or do not respond are not in it."""
        names = sorted(socket.name for socket in self._folder.iterdir() if socket.name != self.name)
        reports = await asyncio.gather(*(self._ask(name) for name in names))
        return {name: answer for name, answer in zip(names, reports, strict=True) if answer}

    async def _ask(self, name: str) -> bytes | None:
        try:
            async with asyncio.timeout(SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._folder / name)
                try:
                    return await reader.read()
                finally:
                    writer.close()
        except (FileNotFoundError, ConnectionRefusedError):
            return None  # it has ended and is being restarted
        except (OSError, TimeoutError) as error:
            log.warning("process %s does not tell its figures: %r", name, error)
            return None
