"""Chooses the event loop that a run executes on: the server's own, or, isolated, one that no other run shares."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from threadloom.usercode import run_forever


class Loops:
    """Executes coroutines on event loops.

    Args:
        isolated: True runs each coroutine on a loop and thread that nothing else uses meanwhile, so that blocking code in it does
            not block others. Idle loops are reused. False does so only for coroutines that `run` is told to isolate.
    """

    def __init__(self, isolated: bool) -> None:
        self._isolated = isolated
        self._idle: list[asyncio.AbstractEventLoop] = []
        self._all: list[asyncio.AbstractEventLoop] = []
        self._closed = False

    def run(self, work: Coroutine[Any, Any, None], *, isolated: bool = False) -> "asyncio.Future[None]":
        """Starts `work`. The returned future belongs to the calling loop."""
        if not (self._isolated or isolated):
            return asyncio.ensure_future(work)
        loop = self._idle.pop() if self._idle else self._new()
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
        future.add_done_callback(lambda _: self._idle.append(loop))
        return future

    def close(self) -> None:
        """Stops the loops. Code that still blocks one of them is abandoned."""
        self._closed = True
        for loop in self._all:
            loop.call_soon_threadsafe(loop.stop)

    def _new(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        name = f"threadloom-loop-{len(self._all)}"
        threading.Thread(target=run_forever, args=(loop, lambda: self._closed), name=name, daemon=True).start()
        self._all.append(loop)
        return loop
