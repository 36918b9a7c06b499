"""Hot reload: when the app's code or configuration changes, a new generation is loaded while the current one serves.

If it loads, it serves all new requests, and active runs end on the old generation. If it fails, the old generation continues to
serve, and the error is shown in the log and in `/info`.
"""

import asyncio
import concurrent.futures
import contextlib
import ctypes
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from threadloom.clock import iso
from threadloom.config import Settings
from threadloom.errors import ThreadloomError
from threadloom.graphs import load, process
from threadloom.reload.merge import merge
from threadloom.reload.watch import Watch
from threadloom.wiring import Generation, Server

log = logging.getLogger("threadloom.reload")

PATIENCE = 5.0
"""Seconds that loading may take once files have changed again; then it is interrupted."""


class LoadInterrupted(KeyboardInterrupt):
    """Raised in code that is being loaded and hangs. Derived from KeyboardInterrupt, so that the code does not handle it as an
    error.
    """


class Reloader:
    """Reloads the app when its files change.

    Args:
        server: the server of the app.
        read: reads the configuration again; raises ConfigError.
    """

    def __init__(self, server: Server, read: Callable[[], Settings]) -> None:
        self._server = server
        self._read = read
        self._number = 1
        self._wanted = server.generation.settings
        self._folders = process.app_folders(self._wanted)
        self._watch = Watch(server.settings.data)
        self._contents: dict[Path, bytes | None] = {}
        self._pending: set[Path] = set()
        self._told = asyncio.Event()
        self._house = process.files_of(server.lasting)
        server.reload = {"generation": 1, "loaded_at": iso(server.clock.now()), "error": None}

    async def run(self) -> None:
        """Watches and reloads until it is cancelled."""
        self._aim()
        # The watch begins before the contents are read: a change between the two is reported.
        await self._watch.begin()
        watching = asyncio.create_task(self._collect())
        try:
            self._note_contents()
            while True:
                await self._told.wait()
                self._told.clear()
                changed, self._pending = self._pending, set()
                changed = {file for file in changed if self._matters(file)}
                if changed := {file for file in changed if self._differs(file)}:
                    with self._server.watchdog.paused():  # imports hold the interpreter for long
                        await self._reload(changed)
        finally:
            watching.cancel()

    async def _collect(self) -> None:
        try:
            async for changed in self._watch.changes():
                self._pending |= changed
                self._told.set()
        except OSError as error:
            log.error("the app's files can no longer be watched: changes count after a restart: %s", error)

    # --- which changes count ---

    def _aim(self) -> None:
        served = self._server.generation.settings
        self._folders = tuple(
            dict.fromkeys((*process.app_folders(served), *process.app_folders(self._wanted), *self._folders))
        )
        self._watch.aim(self._folders, self._named_files())

    def _named_files(self) -> list[Path]:
        """Returns the configuration, the env file that it names, even while the configuration is invalid, and the sources of UI
        bundles.
        """
        file = self._server.settings.path
        inputs = [one for bundle in self._server.generation.bundles.values() for one in bundle.inputs]
        if file is None:
            return inputs
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
            env = json.loads(file.read_text("utf-8-sig")).get("env")
            if isinstance(env, str):
                return [file, file.parent / env, *inputs]
        return [file, *inputs]

    def _matters(self, file: Path) -> bool:
        """Returns whether a file's change matters: a Python file is in use, or in the folder of one that is, or the last load
        failed.
        """
        if file.suffix != ".py" or self._failed:
            return True
        used = process.files_of(process.own_modules(self._folders))
        return file in used or file.parent in {one.parent for one in used}

    def _differs(self, file: Path) -> bool:
        """Returns whether a file's content differs from its last known content."""
        content = _content(file)
        known = file in self._contents
        before, self._contents[file] = self._contents.get(file), content
        return not known or before != content

    def _note_contents(self) -> None:
        """Stores the contents of the files in use. A file that was changed while the server started counts as changed."""
        for file in (*process.files_of(process.own_modules(self._folders)), *self._named_files()):
            with contextlib.suppress(OSError):
                if file.stat().st_mtime >= self._server.began:
                    self._pending.add(file)
                    self._told.set()
                else:
                    self._contents[file] = _content(file)

    @property
    def _failed(self) -> bool:
        return bool(self._server.reload and self._server.reload["error"])

    # --- reloading ---

    async def _reload(self, changed: set[Path]) -> None:
        names = self._named(changed)
        began = time.perf_counter()
        afresh = None
        try:
            read = await asyncio.to_thread(self._read)
            self._wanted = read
            settings, later = merge(self._server.settings, read)
            afresh = process.ModuleReload(self._server.generation.settings, self._folders, changed)
            generation = await self._load(settings)
            await self._server.change(generation)
        except LoadInterrupted:
            assert afresh is not None
            afresh.put_back()
            log.warning("%s changed, but loading did not end; it is broken off, since there are newer changes", names)
        except Exception as error:
            if afresh is not None:
                afresh.put_back()
            text = str(error) if isinstance(error, ThreadloomError) else load.explain(error)
            log.error("%s changed, but cannot be served; what was loaded before goes on serving:\n%s", names, text)
            self._tell(error=text)
        except BaseException:
            if afresh is not None:
                afresh.put_back()
            raise
        else:
            self._number += 1
            log.info("%s changed: loaded anew in %.2f s", names, time.perf_counter() - began)
            self._warn(generation, changed, later)
            self._tell(error=None, loaded_at=iso(self._server.clock.now()))
        self._aim()

    def _warn(self, generation: Generation, changed: set[Path], later: list[str]) -> None:
        for warning in generation.settings.warnings:
            log.warning("%s: %s", generation.settings.path or "environment", warning)
        if later:
            log.warning("%s changed, which counts only after a RESTART of the server", ", ".join(later))
        if held := changed & self._house:
            log.warning(
                "%s: store and encryption use it as it was when the server started; for them it counts only after a RESTART",
                self._named(held),
            )

    def _tell(self, **news: Any) -> None:
        self._server.reload = {**(self._server.reload or {}), "generation": self._number, **news}

    async def _load(self, settings: Settings) -> Generation:
        """Creates a generation on a thread of its own, as at the start of the process.

        Raises:
            LoadInterrupted: files changed again and loading does not end.
            Exception: any error of the code.
        """
        loading: concurrent.futures.Future[Generation] = concurrent.futures.Future()

        def work() -> None:
            asyncio.set_event_loop(loop := asyncio.new_event_loop())
            try:
                loading.set_result(self._server.generate(settings))
            except BaseException as error:
                loading.set_exception(error)
            finally:
                loop.close()

        thread = threading.Thread(target=work, name="threadloom-reload", daemon=True)
        thread.start()
        began = time.monotonic()
        waiting = asyncio.wrap_future(loading)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        while not (await asyncio.wait((waiting,), timeout=0.5))[0]:
            if self._told.is_set() and time.monotonic() - began > PATIENCE:
                await self._interrupt(thread, waiting)
        return await waiting

    async def _interrupt(self, thread: threading.Thread, waiting: "asyncio.Future[Generation]") -> None:
        assert thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(LoadInterrupted))
        if not (await asyncio.wait((waiting,), timeout=2))[0]:
            log.error("the code hangs where it cannot be broken off; only a RESTART of the server ends it")
        raise LoadInterrupted

    def _named(self, changed: Iterable[Path]) -> str:
        root = self._server.settings.root.resolve()
        names = sorted(str(file.relative_to(root)) if file.is_relative_to(root) else str(file) for file in changed)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(names[:3]) + more


def _content(file: Path) -> bytes | None:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return None


__all__ = ["Reloader"]
