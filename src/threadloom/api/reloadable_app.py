"""The process's ASGI app: its lifespan, and the entry that serves now, which may be changed for another."""

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
"""How often it is asked whether something still needs an entry that no longer serves."""

log = logging.getLogger("threadloom.http")


class ReloadableApp:
    """Gives every request to the entry that serves when it comes; it is answered to its end by that one.

    Args:
        entry: serves first.
        lifespan: entered at start, before the own app's, and left last.
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
        """Ends what would not end by itself: no more requests are taken."""
        self._leaving_soon.set()

    async def change(self, entry: HttpEntry, needed: Callable[[], bool]) -> None:
        """Lets another entry serve from now on.

        Its own app's lifespan is entered first. That of the app before is left once its requests have ended and nothing else
        needs it; if both have one and the same app, its lifespan just goes on.

        Args:
            needed: whether something beside requests, such as a run, needs what the entry before has.

        Raises:
            Exception: what the own app's lifespan raises. Then nothing has changed.
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
        # Requests and runs end in many ways and on several threads; looking is simpler than being told of each.
        while served.requests or needed():  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        try:
            await served.leave()
        except Exception:
            log.exception("the app that served before did not end well")

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan: ours first, then the own app's; left in reverse."""
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
    """An entry with its own app's lifespan, which lives in a task of its own: whoever enters it need not be who leaves it."""

    def __init__(self, entry: HttpEntry) -> None:
        self.entry = entry
        self.requests = 0
        self._left = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Raises what the own app's lifespan raises."""
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
        """Raises what the own app's lifespan raises at its end."""
        self._left.set()
        if self._task is not None:
            await self._task

    def take_over(self, before: "_ServedEntry") -> None:
        """Goes on with the lifespan of another entry of the same own app."""
        self._task, before._task = before._task, None
        self._left, before._left = before._left, self._left
        self.entry.state = before.entry.state

    async def _live(self, entered: asyncio.Event) -> None:
        with within(self.entry, self.entry.prefix), contained():
            async with self.entry.own_lifespan():
                entered.set()
                await self._left.wait()
