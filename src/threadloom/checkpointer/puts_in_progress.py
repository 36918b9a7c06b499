"""Tracks puts that are being stored, so that a question is shown only when it can be answered, in whichever process."""

import asyncio
import contextlib
from collections.abc import Iterator


class PutsInProgress:
    """The deferred puts that a process is storing, by thread."""

    def __init__(self) -> None:
        self._ends: dict[str, set[asyncio.Future[None]]] = {}

    @contextlib.contextmanager
    def storing(self, thread_id: str) -> Iterator[None]:
        """Marks a put of a thread as in progress within the block, on this event loop."""
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
        """Waits until the puts in progress of a thread are stored or have failed. Called on the loop that stores them."""
        while ends := self._ends.get(thread_id):
            await asyncio.wait(ends)
            await asyncio.sleep(0)  # LangGraph begins the next put when the one before has ended
