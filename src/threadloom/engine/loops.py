"""Which event loop a run executes on: the server's own, or, isolated, one that no other run shares."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from threadloom.usercode import run_forever


class Loops:
    """Executes coroutines.

    Args:
        isolated: each coroutine gets a loop on a thread of its own for as long as it runs, so that blocking code in it
            stalls nothing else. Idle loops are used again. Otherwise only those do that ask for it.
    """

    def __init__(self, isolated: bool) -> None:
        self._isolated = isolated
        self._idle: list[asyncio.AbstractEventLoop] = []
        self._all: list[asyncio.AbstractEventLoop] = []
        self._closed = False

    def run(self, work: Coroutine[Any, Any, None], *, isolated: bool = False) -> "asyncio.Future[None]":
        """Starts `work`; the future lives on the calling loop."""
        if not (self._isolated or isolated):
            return asyncio.ensure_future(work)
        loop = self._idle.pop() if self._idle else self._new()
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
        future.add_done_callback(lambda _: self._idle.append(loop))
        return future

    def close(self) -> None:
        """Stops the loops. What still blocks on one is left behind."""
        self._closed = True
        for loop in self._all:
            loop.call_soon_threadsafe(loop.stop)

    def _new(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        name = f"threadloom-loop-{len(self._all)}"
        threading.Thread(target=run_forever, args=(loop, lambda: self._closed), name=name, daemon=True).start()
        self._all.append(loop)
        return loop
