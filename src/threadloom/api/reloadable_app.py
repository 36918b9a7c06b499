"""The process's ASGI app: its lifespan, and the current entry, which a reload replaces."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.types import Receive, Scope, Send

from threadloom.api.app import HttpEntry
from threadloom.api.loopback import connect, within
from threadloom.api.sse import LEAVING
from threadloom.usercode import contained

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]

POLL_INTERVAL_SECONDS = 0.5
"""How often it checks whether a replaced entry is still needed."""

log = logging.getLogger("threadloom.http")


class ReloadableApp:
    """Forwards each request to the entry that is current when the request arrives. That entry serves the request to its end.

    Args:
        entry: the first entry.
        lifespan: entered at start, before the custom app's, and exited last.
    """

    def __init__(self, entry: HttpEntry, lifespan: Lifespan) -> None:
        self._lifespan = lifespan
        self._leaving_soon = asyncio.Event()
        self._now = _ServedEntry(entry)
        self._leaving: dict[asyncio.Task[None], _ServedEntry] = {}
        connect(self, entry.prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the process's lifespan, a request or a web socket."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        scope[LEAVING] = self._leaving_soon
        served = self._now
        served.requests += 1
        try:
            await served.entry(scope, receive, send)
        finally:
            served.requests -= 1

    def leave(self) -> None:
        """Ends streams that have no end of their own, before the process stops. No more requests are accepted."""
        self._leaving_soon.set()

    async def change(self, entry: HttpEntry, needed: Callable[[], bool]) -> None:
        """Replaces the current entry.

        First the lifespan of its custom app is entered. The lifespan of the replaced entry's app is exited once its requests have
        ended and nothing else needs it. If both entries have the same app, its lifespan continues.

        Args:
            needed: whether something other than requests, such as a run, still needs the replaced entry.

        Raises:
            Exception: the custom app's lifespan raised it. Then nothing has changed.
        """
        before, after = self._now, _ServedEntry(entry)
        if entry.user_app is not None and entry.user_app is before.entry.user_app:
            after.take_over(before)
        else:
            await after.enter()
        self._now = after
        connect(self, entry.prefix)
        task = asyncio.create_task(self._leave(before, needed))
        self._leaving[task] = before
        task.add_done_callback(self._leaving.pop)

    async def _leave(self, served: "_ServedEntry", needed: Callable[[], bool]) -> None:
        # Polling: requests and runs end in many ways and on several threads, so notifications would be more complex.
        while served.requests or needed():  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        try:
            await served.leave()
        except Exception:
            log.exception("the app that served before did not end well")

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan: the server's first, then the custom app's; exited in reverse order."""
        await receive()
        started = False
        try:
            async with self._lifespan():
                await self._now.enter()
                try:
                    await send({"type": "lifespan.startup.complete"})
                    started = True
                    await receive()
                finally:
                    await self._leave_all()
        except BaseException as error:
            what = "shutdown" if started else "startup"
            text = "".join(traceback.format_exception(error))
            await send({"type": f"lifespan.{what}.failed", "message": text})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _leave_all(self) -> None:
        leaving = dict(self._leaving)
        for task, served in leaving.items():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await served.leave()
        await self._now.leave()


class _ServedEntry:
    """An entry with its custom app's lifespan. The lifespan runs in a task of its own, so that one task may enter it and another
    exit it.
    """

    def __init__(self, entry: HttpEntry) -> None:
        self.entry = entry
        self.requests = 0
        self._left = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Enters the lifespan. Raises what the custom app's lifespan raises."""
        if self.entry.user_app is None:
            return
        entered = asyncio.Event()
        self._task = asyncio.create_task(self._live(entered))
        waiting = asyncio.create_task(entered.wait())
        try:
            await asyncio.wait((self._task, waiting), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        finally:
            waiting.cancel()
        if not entered.is_set():
            await self._task

    async def leave(self) -> None:
        """Exits the lifespan. Raises what the custom app's lifespan raises at its end."""
        self._left.set()
        if self._task is not None:
            await self._task

    def take_over(self, before: "_ServedEntry") -> None:
        """Takes over the running lifespan from another entry with the same custom app."""
        self._task, before._task = before._task, None
        self._left, before._left = before._left, self._left
        self.entry.state = before.entry.state

    async def _live(self, entered: asyncio.Event) -> None:
        with within(self.entry, self.entry.prefix), contained():
            async with self.entry.own_lifespan():
                entered.set()
                await self._left.wait()
