"""The processes that one `threadloom serve --workers N` started: any of them tells the figures of all.

A scrape comes to whichever process takes the connection. So each listens on a socket in a folder of the supervisor's, and tells
what it counted to the one that was asked.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

log = logging.getLogger("threadloom.peers")

SECONDS = 2.0
"""How long a process may take to answer. One that does not is left out, and named in the log."""


class PeerProcesses:
    """One process among those of a supervisor.

    Args:
        folder: where the sockets are; only the user that runs the server may enter it.
        name: this process's, among the others.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._folder = folder

    @contextlib.asynccontextmanager
    async def answering(self, tell: Callable[[], bytes]) -> AsyncIterator[None]:
        """Answers the others within the block, with what `tell` gives at that moment."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(tell())
                await writer.drain()
                writer.close()

        socket = self._folder / self.name
        socket.unlink(missing_ok=True)  # of a process that was killed
        async with await asyncio.start_unix_server(answer, socket):
            yield
        socket.unlink(missing_ok=True)

    async def others(self) -> dict[str, bytes]:
        """What the other processes tell, by their names. Those that have ended or do not answer are not in it."""
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
            return None  # it has ended, and is being started again
        except (OSError, TimeoutError) as error:
            log.warning("process %s does not tell its figures: %r", name, error)
            return None
