"""Which files of an app change: its Python files, and the few others that count."""

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
"""Changes that follow each other more quickly come together."""

LONGEST_MS = 1600
"""No change is told later than so long after it, however many follow."""

MOST_FOLDERS = 5000
"""Folders that are watched at most: a system has only so many watches, and an app is not that large."""


Print = tuple[int, int] | None


class Watch:
    """Watches the trees of folders of an app.

    Every folder is watched by itself, so that those without code (the data folder, where much is written) cost nothing.

    Args:
        ignored: a folder below which nothing counts: the data folder.
    """

    def __init__(self, ignored: Path) -> None:
        self._ignored = ignored.resolve()
        self._trees: tuple[Path, ...] = ()
        self._files: frozenset[Path] = frozenset()
        self._moved = asyncio.Event()

    def aim(self, trees: Iterable[Path], files: Iterable[Path]) -> None:
        """Says what counts from now on.

        Args:
            trees: folders whose Python files count, at any depth.
            files: further files that count, wherever they are.
        """
        before = self._trees, {file.parent for file in self._files}
        self._trees = tuple(sorted({tree.resolve() for tree in trees}))
        self._files = frozenset(file.parent.resolve() / file.name for file in files)
        if before != (self._trees, {file.parent for file in self._files}):
            self._moved.set()

    async def changes(self) -> AsyncIterator[set[Path]]:
        """What was made, changed or removed, as it comes; for ever."""
        seen: dict[Path, Print] | None = None
        polling: bool | None = None
        while True:
            self._moved.clear()
            folders = await asyncio.to_thread(self._folders)
            if not folders:
                await self._moved.wait()
                continue
            seen = await asyncio.to_thread(self._prints, folders) if seen is None else seen
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
                            # What changed while nothing was watched, or came with a new folder.
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
                continue  # a folder went while the watching began
            except OSError as error:
                if polling:
                    raise
                log.warning("changes are looked for by polling, since they cannot be watched: %s", error)
                polling = True

    def _counts(self, place: Path) -> bool:
        # Editors keep files such as `.#agent.py` beside those that they edit.
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
        """The files that count, as they are now."""
        found: dict[Path, Print] = {}
        for folder in folders:
            with contextlib.suppress(OSError):
                for entry in os.scandir(folder):
                    if self._counts(file := Path(entry.path)):
                        found[file] = _print(file)
        return found


def _print(file: Path) -> Print:
    """What tells a file from what it was; None: there is none."""
    try:
        seen = file.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size
