"""Where two histories part: the newest checkpoint that both have, and how many each has since.

A history is a checkpoint with its ancestors. It is read page by page, newest first, and only as far as the two differ.
"""

from collections.abc import Awaitable, Callable, Container, Sequence
from typing import NamedTuple

from threadloom.lineage.segments import UNBOUNDED

FIRST_PAGE = 64
"""Checkpoints that are read first. Each page is twice as long as the one before it, up to `LAST_PAGE`."""

LAST_PAGE = 4096

Read = Callable[[int, int], Awaitable[Sequence[tuple[int, str, str | None]]]]
"""Reads checkpoints at or below a position, at most so many, newest first: `(position, id, parent)`."""


class Path:
    """A checkpoint and its ancestors, as far as they were walked.

    Args:
        read: reads the checkpoints of the thread.

    Attributes:
        ids: each checkpoint that was walked, with the number of those walked before it.
        current: the checkpoint that was walked to last; None past the first one.
        position: its position; -1 past the first one.
    """

    def __init__(self, read: Read) -> None:
        self.ids: dict[str, int] = {}
        self.current: str | None = None
        self.position = -1
        self._read = read
        self._below: int | None = UNBOUNDED
        self._page = FIRST_PAGE
        self._known: dict[str, tuple[int, str, str | None]] = {}

    async def start(self, head: str, pos: int) -> None:
        """Begins at a checkpoint and its position. Without a beginning, a path is empty."""
        self._below = pos
        await self._move(head)

    async def walk(self, floor: int, known: Container[str]) -> str | None:
        """Walks one step or more, up to the first checkpoint that is in `known` or whose position is smaller than `floor`.
        Returns it if it is in `known`.
        """
        rows, ids, current = self._known, self.ids, self.current
        if current is None:
            return None
        while True:
            parent = rows[current][2]
            row = None if parent is None else rows.get(parent)
            if row is None or parent is None or parent in ids:
                self.current = current
                await self._move(parent)
                parent = self.current
            else:
                ids[parent] = len(ids)
                self.current, self.position = parent, row[0]
            if parent is None:
                return None
            if parent in known:
                return parent
            if self.position < floor:
                return None
            current = parent

    async def _move(self, checkpoint_id: str | None) -> None:
        while checkpoint_id is not None and checkpoint_id not in self._known and self._below is not None:
            await self._more()
        if checkpoint_id is None or checkpoint_id in self.ids or checkpoint_id not in self._known:
            self.current, self.position = None, -1
            return
        self.current, self.position = checkpoint_id, self._known[checkpoint_id][0]
        self.ids[checkpoint_id] = len(self.ids)

    async def _more(self) -> None:
        assert self._below is not None
        rows = await self._read(self._below, self._page)
        for row in rows:
            self._known.setdefault(row[1], row)  # of a checkpoint that was put again the newest row counts
        self._below = rows[-1][0] - 1 if len(rows) == self._page else None
        self._page = min(2 * self._page, LAST_PAGE)


class Divergence(NamedTuple):
    """How two histories differ.

    Attributes:
        common: the newest checkpoint that both have; None for none.
        ahead: how many checkpoints the first history has after it.
        behind: how many the second one has.
        first_a, first_b: the oldest of these; None for none.
    """

    common: str | None
    ahead: int
    behind: int
    first_a: str | None
    first_b: str | None


async def divergence(a: Path, b: Path) -> Divergence:
    """Returns how two histories differ. Both have been started."""
    common = _met(a, b) or _met(b, a)
    while common is None and (a.current is not None or b.current is not None):
        walked, other = (a, b) if a.position >= b.position else (b, a)
        common = await walked.walk(other.position, other.ids)
    ahead, behind = (len(path.ids) if common is None else path.ids[common] for path in (a, b))
    return Divergence(common, ahead, behind, _at(a, ahead - 1), _at(b, behind - 1))


def _met(path: Path, other: Path) -> str | None:
    return path.current if path.current in other.ids else None


def _at(path: Path, number: int) -> str | None:
    return None if number < 0 else list(path.ids)[number]
