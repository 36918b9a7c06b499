"""What the operations on histories need from a storage."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from threadloom.lineage.retain import Node
from threadloom.lineage.segments import Branches, Chain, Edge
from threadloom.storage.lineage.moves import FormerHead, Tag
from threadloom.storage.lineage.protocol import ChannelUsage

Positions = Collection[int]
Ids = Collection[tuple[str, str]]
"""Checkpoints as pairs of namespace and id."""

WriteRow = tuple[tuple[str, str, str], int, int]
"""A stored write: `((namespace, checkpoint_id, task_id), idx, pos)`."""


class Tip(NamedTuple):
    """What a copy of a whole thread needs: its head segment with the last position drawn, the edge of that segment, whether the
    segment has any row, the id of the newest root checkpoint that the thread sees, and the position at which a branch leaves that
    begins with the segment.
    """

    head: Edge
    inherited: Edge | None
    written: bool
    newest: str | None
    branch_at: int | None = None


class StoredRow(NamedTuple):
    """The position of a stored checkpoint, or of a pending write of it."""

    pos: int
    namespace: str
    checkpoint_id: str
    is_checkpoint: bool


class Segments(Protocol):
    """What the operations need from a storage. A bound is the largest position that is included; `chain` is the chain of a
    thread.
    """

    async def lock(self, *thread_ids: str) -> None:
        """Locks the histories of these threads exclusively until the transaction ends."""

    async def chain(self, thread_id: str) -> Chain:
        """Returns the chain of a thread; empty if it has no history."""

    async def tip(self, thread_id: str) -> Tip | None:
        """Returns what a copy of a whole thread needs; None if it has no history."""

    async def branches(self, chain: Chain) -> Branches:
        """Returns the branches of a thread's chain."""

    async def chain_from(self, edge: Edge) -> Chain:
        """Returns the chain of a segment that has this edge, without the segment itself."""

    async def place(self, thread_id: str, checkpoint_id: str, namespace: str = "") -> Edge | None:
        """Returns segment and position of a checkpoint that a thread sees. Of one that was put again, those of the first put:
        what builds on it came after that.
        """

    async def next_place(self, chain: Chain, namespace: str, after: int) -> int | None:
        """Returns the position of the first checkpoint of a namespace that a chain shows after a position; None if there is
        none.
        """

    async def count_rows(self, segment: int, bound: int, most: int) -> int:
        """Returns how many checkpoints and pending writes a segment has at or below a bound. Counting stops at `most`."""

    async def new_segment(self, edge: Edge | None, branch_at: int | None = None) -> int:
        """Creates a segment and returns its id. `branch_at`: a branch begins with it that leaves at this position."""

    async def begin(self, thread_ids: Sequence[str], edge: Edge, branch_at: int | None = None) -> bool:
        """Creates a segment for each thread as its head, in a fixed number of statements. Returns False if one of them had a
        head.
        """

    async def move_head(self, thread_id: str, segment: int) -> None:
        """Sets the head of a thread, or a former head, and starts a new era. The segment may be the current one."""

    async def continue_on(self, thread_id: str, segment: int) -> None:
        """Sets a thread's head to a segment that sees all that the thread sees. The era stays."""

    async def drop_heads(self, thread_id: str) -> Sequence[int]:
        """Removes a thread's head and former heads, its run spans and tags. Returns the segments that were heads."""

    async def former_heads(self, thread_id: str) -> list[FormerHead]:
        """See `Lineage.former_heads`."""

    async def showing(self, thread_id: str, checkpoint_id: str) -> str | None:
        """See `Lineage.showing`."""

    async def keep_former(self, thread_id: str, number: int, segment: int, former: FormerHead) -> None:
        """Stores a former head of a thread, with its segment. The one with the largest number is the newest."""

    async def replace_former(self, former: FormerHead) -> None:
        """Changes what is stored of a former head, except its segment and number."""

    async def drop_former(self, head: str) -> int:
        """Removes a former head. Returns its segment."""

    async def tags(self, thread_id: str) -> list[Tag]:
        """See `Lineage.tags`."""

    async def drop_tag(self, thread_id: str, name: str) -> bool:
        """See `Lineage.drop_tag`."""

    async def delete_above(self, segment: int, bound: int) -> bool:
        """Deletes the rows of a segment above a position. If a child sees one of them, deletes nothing and returns False."""

    async def free(self, segment: int) -> None:
        """Deletes the rows of a former head segment that no thread sees any more, and then those of the segments above it."""

    async def begin_span(self, thread_id: str, run_id: str, first: int) -> None:
        """Records that a run wrote on a thread from a position on, unless it did before."""

    async def drop_span(self, thread_id: str, run_id: str) -> int | None:
        """Deletes the record that a run wrote on a thread. Returns the position of the run's first row."""

    async def spans(self, thread_id: str, first: int) -> Mapping[str, int]:
        """Returns the runs of a thread whose first row is at or after a position, with the position of that row."""

    async def set_spans(self, thread_id: str, first: int, spans: Mapping[str, int]) -> None:
        """Replaces what `spans` returns."""

    async def newest(self, chain: Chain) -> Sequence[Node]:
        """Returns the newest checkpoint of each namespace."""

    async def newest_of(self, chain: Chain, namespaces: Collection[str]) -> Sequence[Node]:
        """Returns the newest checkpoint of each of these namespaces that has one."""

    async def newest_inner(self, chain: Chain, after: int) -> Sequence[Node]:
        """Returns the newest checkpoint of each namespace of a subgraph, if it was put after a position or the subgraph keeps its
        state between runs (its namespace names no task).
        """

    async def nearest(self, chain: Chain, namespace: str, checkpoint_id: str, most: int) -> Sequence[Node]:
        """Returns a checkpoint and its nearest ancestors, at most `most` in all; nothing if the chain does not show it. Positions
        fall: of an ancestor that was put again later, an earlier put is returned.
        """

    async def ancestors(self, chain: Chain, node: Node, channels: Collection[str]) -> Sequence[Node]:
        """Returns the ancestors of a checkpoint, nearest first, as far back as the newest stored value of each channel."""

    async def pending_writes(self, chain: Chain, ids: Ids) -> Sequence[WriteRow]:
        """Returns the stored writes under checkpoints, those of each checkpoint in order of their positions."""

    async def run_checkpoints(self, chain: Chain, run_id: str, first: int) -> Sequence[tuple[int, str, str]]:
        """Returns the checkpoints of a run that begins at `first`, except those that were put again later.

        Each is `(pos, namespace, checkpoint_id)`, where `pos` is the smallest position at which the chain shows the id.
        """

    async def rows_after(self, chain: Chain, bound: int) -> Sequence[StoredRow]:
        """Returns all rows that a chain shows above a position."""

    async def store_anew(
        self, segment: int, lower: int, checkpoints: Positions, writes: Positions, orphans: Positions
    ) -> Mapping[int, int]:
        """Copies the rows at these positions to another segment, in the same order.

        `orphans` are stored without a parent. Values above `lower`, and those that they build on, are copied too, each once.

        Returns:
            The new position of each old one.
        """

    async def thread_ids(self) -> Sequence[str]:
        """Returns the ids of all threads that have a history."""

    async def usage_of(self, chain: Chain) -> tuple[Sequence[int], Sequence[int], Sequence[ChannelUsage]]:
        """Returns number, bytes and inherited bytes of checkpoints; the same of pending writes that are valid; and the usage of
        each channel.
        """
