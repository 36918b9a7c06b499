"""Puts that are being stored: whoever shows a question waits until it can be answered, whichever process is asked."""

import asyncio
import contextlib
from collections.abc import Iterator


class PutsInProgress:
    """The transactions of a process that store checkpoints and pending writes and that their runs do not wait for, by thread."""

    def __init__(self) -> None:
        self._ends: dict[str, set[asyncio.Future[None]]] = {}

    @contextlib.contextmanager
    def storing(self, thread_id: str) -> Iterator[None]:
        """Within the block, something of a thread is being stored on this event loop."""
        end = asyncio.get_running_loop().create_future()
        ends = self._ends.setdefault(thread_id, set())
        ends.add(end)
        try:
            yield
        finally:
            end.set_result(None)
            ends.discard(end)
            if not ends:
                self._ends.pop(thread_id, None)

    async def ended(self, thread_id: str) -> None:
        """Waits until what is under way of a thread is stored or has failed. For the loop that stores it."""
        while ends := self._ends.get(thread_id):
            await asyncio.wait(ends)
            await asyncio.sleep(0)  # LangGraph begins a put when the one before has ended
