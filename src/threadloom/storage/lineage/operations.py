"""Copying threads and removing rows from their view: written once, on top of what each storage provides.

Rows that another thread sees stay where they are. The thread gets a new head segment that sees less, and the other rows that it
keeps are copied there. A row is freed when its segment is no head and no edge of an existing child reaches the row. On SQLite
none of these coroutines ever suspends (see `storage.drive`).
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from threadloom.lineage.branches import Views, current, moved_branch, parts_above
from threadloom.lineage.cut import edges_at
from threadloom.lineage.pending import counting
from threadloom.lineage.retain import Node, moved, unstored
from threadloom.lineage.segments import UNBOUNDED, Branches, Chain, Edge
from threadloom.storage.lineage.protocol import ChannelUsage, CheckpointRow, Lineage, Usage

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

    async def place(self, thread_id: str, checkpoint_id: str, namespace: str = "") -> Edge | None:
        """Returns segment and position of a checkpoint that a thread sees."""

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
        """Sets a thread's head, which may be its current one, and starts a new era."""

    async def continue_on(self, thread_id: str, segment: int) -> None:
        """Sets a thread's head to a segment that sees all that the thread sees. The era stays."""

    async def drop_head(self, thread_id: str) -> int | None:
        """Removes a thread's head and its run spans. Returns the segment that was the head."""

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


class LineageOperations(Segments, Lineage):
    """The part of `Lineage` that is the same on all storages."""

    async def everything(
        self, *, before: str | None = None, limit: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> list[CheckpointRow]:
        found: list[CheckpointRow] = []
        for thread_id in await self.thread_ids():
            found += await self.history(thread_id, before=before, limit=limit, metadata=metadata)
            if limit is not None:
                found = heapq.nlargest(limit, found, key=lambda row: row.pos)
        return sorted(found, key=lambda row: row.pos, reverse=True)

    async def end_of_run(self, thread_id: str, run_id: str) -> int:
        spans = await self.spans(thread_id, 0)
        begin = spans.get(run_id, UNBOUNDED)
        return min((first for first in spans.values() if first > begin), default=UNBOUNDED)

    async def pending_of(self, thread_id: str, checkpoint_id: str) -> Collection[tuple[str, int]]:
        rows = await self.pending_writes(await self.chain(thread_id), [("", checkpoint_id)])
        return {(task_id, idx) for (_, _, task_id), idx, _ in rows}

    async def usage(self, thread_id: str) -> Usage:
        chain = await self.chain(thread_id)
        if not chain:
            return Usage()
        checkpoints, writes, channels = await self.usage_of(chain)
        return Usage(
            checkpoints=(checkpoints[0], checkpoints[1]),
            pending_writes=(writes[0], writes[1]),
            channels={channel: (versions, size) for channel, versions, size, _, _ in channels},
            shared_bytes=checkpoints[2] + writes[2] + sum(inherited for *_, inherited, _ in channels),
            stored_bytes=checkpoints[1] + writes[1] + sum(stored for *_, stored in channels),
        )

    async def copy(self, source: str, target: str, *, at: str | None = None) -> str | None:
        await self.lock(source, target)
        return await self.copy_many(source, [target], at=at)

    async def copy_many(self, source: str, targets: Sequence[str], *, at: str | None = None) -> str | None:
        await self.lock(source)
        edge: Edge | None
        branch_at = None
        if at is None:
            tip = await self.tip(source)
            if tip is None:
                return None
            edge, newest = tip.head if tip.written else tip.inherited, tip.newest
            branch_at = None if tip.written else tip.branch_at
        else:
            edge, newest = await self.place(source, at), at
            if edge is None:
                raise KeyError(at)
        if edge is not None and not await self.begin(targets, edge, branch_at):
            raise ValueError(f"a thread of {', '.join(targets[:3])} has a history")
        return newest

    async def branch_point(
        self, thread_id: str, namespace: str, checkpoint_id: str, *, again: bool = False
    ) -> int | None:
        place = await self.place(thread_id, checkpoint_id, namespace)
        if place is None:
            return None
        at = place[1]
        chain = await self.chain(thread_id)
        views = Views(chain, await self.branches(chain))
        shown = views.current()
        if (again and namespace) or not views.shows(shown, at):
            return at
        newest = await self.next_place(shown, namespace, at) is None
        # The namespace of a subgraph that keeps its state between runs names no task. Its newest state is current, always.
        if newest and ":" in namespace:
            newest = await self.next_place(shown, "", at) is None
        return None if newest else at

    async def begin_branch(self, thread_id: str, at: int, *, run_id: str | None = None) -> None:
        await self.lock(thread_id)
        tip = await self.tip(thread_id)
        edge = None if tip is None else tip.head if tip.written else tip.inherited
        if tip is None or edge is None:
            return
        segment = await self.new_segment(edge, at)
        await self.continue_on(thread_id, segment)
        if run_id is not None:
            await self.begin_span(thread_id, run_id, segment)
        if not tip.written:
            await self.free(tip.head[0])

    async def end_of_step(self, thread_id: str, namespace: str, checkpoint_id: str) -> int:
        place = await self.place(thread_id, checkpoint_id, namespace)
        if place is None:
            return UNBOUNDED
        chain = await self.chain(thread_id)
        shown = Views(chain, await self.branches(chain)).showing(place[1])
        following = await self.next_place(shown, namespace, place[1])
        return shown[0][1] if following is None else following - 1

    async def delete(self, thread_id: str) -> None:
        await self.lock(thread_id)
        segment = await self.drop_head(thread_id)
        if segment is not None:
            await self.free(segment)

    async def rollback(self, thread_id: str, run_id: str) -> None:
        await self.lock(thread_id)
        first = await self.drop_span(thread_id, run_id)
        if first is not None and (chain := await self.chain(thread_id)):
            await self._truncate(thread_id, chain, first - 1)

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        await self.lock(thread_id)
        first = await self.drop_span(thread_id, run_id)
        if first is None or not (chain := await self.chain(thread_id)):
            return
        doomed = await self.run_checkpoints(chain, run_id, first)
        ids = {(namespace, checkpoint_id) for _, namespace, checkpoint_id in doomed}
        # Runs of a thread never overlap. So pending writes before the first row of the next run belong to this run, whatever
        # checkpoint they are on.
        end = min((await self.spans(thread_id, first)).values(), default=UNBOUNDED)
        rows = await self.rows_after(chain, min([first, *(pos for pos, _, _ in doomed)]) - 1)
        gone = {
            row.pos
            for row in rows
            if (row.namespace, row.checkpoint_id) in ids or (not row.is_checkpoint and first <= row.pos < end)
        }
        if not gone:
            return
        bound = min(gone) - 1
        kept = [row for row in rows if row.pos > bound and row.pos not in gone]
        if kept:
            checkpoints = [row.pos for row in kept if row.is_checkpoint]
            writes = [row.pos for row in kept if not row.is_checkpoint]
            edge, branches = await self._edge(chain, bound), await self.branches(chain)
            await self._rewrite(thread_id, chain, edge, checkpoints, writes, branches=branches)
        else:
            await self._truncate(thread_id, chain, bound)

    async def prune(self, thread_id: str) -> None:
        await self.lock(thread_id)
        chain = await self.chain(thread_id)
        shown = current(chain, await self.branches(chain))
        kept: list[Node] = []
        for node in await self.newest(shown):
            kept.append(node)
            if channels := unstored(node):
                kept += await self.ancestors(shown, node, channels)
        if not kept:
            return
        ids = {(node.namespace, node.checkpoint_id) for node in kept}
        orphans = {node.pos for node in kept if node.parent and (node.namespace, node.parent) not in ids}
        writes = [pos for _, _, pos in counting(await self.pending_writes(shown, ids))]
        wanted = len(kept) + len(writes)
        if len(chain) > 1 or orphans or await self.count_rows(*chain[0], wanted + 1) > wanted:
            await self._rewrite(thread_id, chain, None, [node.pos for node in kept], writes, orphans)

    async def _edge(self, chain: Chain, bound: int) -> Edge | None:
        """Returns the edge that sees all of a chain up to a position; None when there is nothing to see."""
        edge, inherited = edges_at(chain, bound)
        return edge if await self.count_rows(*edge, 1) else inherited

    async def _truncate(self, thread_id: str, chain: Chain, bound: int) -> None:
        """Removes all rows above a position from a thread's view."""
        head = chain[0][0]
        edge = await self._edge(chain, bound)
        if edge is None:
            await self.delete(thread_id)
            return
        await self.set_spans(thread_id, edge[1] + 1, {})
        if edge[0] == head and await self.delete_above(head, bound):
            await self.move_head(thread_id, head)
        else:
            await self._switch(thread_id, head, await self.new_segment(edge))

    async def _rewrite(
        self,
        thread_id: str,
        chain: Chain,
        edge: Edge | None,
        checkpoints: Positions,
        writes: Positions,
        orphans: Positions = (),
        branches: Branches = MappingProxyType({}),
    ) -> None:
        """Gives a thread an edge and copies of the rows at these positions, and nothing else. The rows of each branch are copied
        to a segment of their own.
        """
        lower = edge[1] if edge else 0
        positions: dict[int, int] = {}
        segment: int | None = None
        parts = parts_above(chain, branches, lower)
        for part in parts:
            some, others = ([pos for pos in rows if part.first < pos <= part.last] for rows in (checkpoints, writes))
            if not some and not others:
                continue
            at = None if part.branch_at is None or edge is None else moved_branch(part.branch_at, parts, positions)
            if segment is None or at is not None:
                segment = await self.new_segment(edge, at)
            positions |= await self.store_anew(segment, lower, some, others, orphans)
            edge = segment, max(positions.values())
        assert segment is not None  # there is a row
        spans = await self.spans(thread_id, lower + 1)
        await self.set_spans(thread_id, lower + 1, moved(spans, positions))
        await self._switch(thread_id, chain[0][0], segment)

    async def _switch(self, thread_id: str, old: int, new: int) -> None:
        await self.move_head(thread_id, new)
        await self.free(old)
