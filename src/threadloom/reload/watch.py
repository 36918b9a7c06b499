"""Watches an app's files: its Python files, and a few others."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from watchfiles import awatch

from threadloom.graphs.process import is_ignored

log = logging.getLogger("threadloom.reload")

STEP_MS = 100
"""Changes with less than this many milliseconds between them are reported together."""

LONGEST_MS = 1600
"""A change is reported after this many milliseconds at the latest, even if more follow."""

MOST_FOLDERS = 5000
"""Maximum number of watched folders: the operating system limits the number of watches."""


Print = tuple[int, int] | None


class Watch:
    """Watches the trees of folders of an app.

    Every folder is watched individually, so that folders without code (the data folder, which is written often) cost nothing.

    Args:
        ignored: a folder whose files are not watched: the data folder.
    """

    def __init__(self, ignored: Path) -> None:
        self._ignored = ignored.resolve()
        self._trees: tuple[Path, ...] = ()
        self._files: frozenset[Path] = frozenset()
        self._moved = asyncio.Event()
        self._seen: dict[Path, Print] = {}

    async def begin(self) -> None:
        """Stores the state of the files. `changes` reports every change that comes after it."""
        self._seen = await asyncio.to_thread(lambda: self._prints(self._folders()))

    def aim(self, trees: Iterable[Path], files: Iterable[Path]) -> None:
        """Sets what is watched from now on.

        Args:
            trees: folders whose Python files are watched, at any depth.
            files: further files that are watched.
        """
        before = self._trees, {file.parent for file in self._files}
        self._trees = tuple(sorted({tree.resolve() for tree in trees}))
        self._files = frozenset(file.parent.resolve() / file.name for file in files)
        if before != (self._trees, {file.parent for file in self._files}):
            self._moved.set()

    async def changes(self) -> AsyncIterator[set[Path]]:
        """Yields the files that were created, changed or removed since `begin`, without end."""
        seen = self._seen
        polling: bool | None = None
        while True:
            self._moved.clear()
            folders = await asyncio.to_thread(self._folders)
            if not folders:
                await self._moved.wait()
                continue
            batches = awatch(
                *folders,
                watch_filter=None,
                step=STEP_MS,
                debounce=LONGEST_MS,
                rust_timeout=1000,
                yield_on_timeout=True,
                recursive=False,
                stop_event=self._moved,
                force_polling=polling,
                ignore_permission_denied=True,
            )
            watching = False
            try:
                async with contextlib.aclosing(batches):
                    async for batch in batches:
                        changed = {Path(place) for _, place in batch}
                        counting = {place for place in changed if self._counts(place)}
                        if not watching:
                            # What changed before the watch began, or came with a new folder.
                            watching = True
                            now = await asyncio.to_thread(self._prints, folders)
                            counting |= {file for file, _ in now.items() ^ seen.items()}
                            seen = now
                        if counting:
                            seen |= {file: told for file in counting if (told := _print(file))}
                            yield counting
                        if any(place in folders or place.is_dir() for place in changed):
                            break
            except FileNotFoundError:
                continue  # a folder was removed while the watch began
            except OSError as error:
                if polling:
                    raise
                log.warning("changes are looked for by polling, since they cannot be watched: %s", error)
                polling = True

    def _counts(self, place: Path) -> bool:
        # Editors keep files such as `.#agent.py` in the folder of the file that they edit.
        return (place.suffix == ".py" and not place.name.startswith((".", "#"))) or place in self._files

    def _folders(self) -> set[Path]:
        found = {file.parent for file in self._files if file.parent.is_dir()}
        for tree in self._trees:
            for folder, below, _ in os.walk(tree):
                here = Path(folder)
                below[:] = [name for name in below if self._is_code(here / name)]
                found.add(here)
                if len(found) > MOST_FOLDERS:
                    log.warning("%s has more than %d folders: not all are watched for changes", tree, MOST_FOLDERS)
                    return found
        return found

    def _is_code(self, folder: Path) -> bool:
        return not is_ignored(folder.name) and folder != self._ignored and not (folder / "pyvenv.cfg").exists()

    def _prints(self, folders: set[Path]) -> dict[Path, Print]:
        """Returns the watched files with their current fingerprints."""
        found: dict[Path, Print] = {}
        for folder in folders:
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder):
                    if self._counts(file := Path(entry.path)):
                        found[file] = _print(file)
        return found


def _print(file: Path) -> Print:
    """Returns the fingerprint of a file; None: the file does not exist."""
    try:
        seen = file.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size
