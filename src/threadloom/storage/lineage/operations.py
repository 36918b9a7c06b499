"""Copying threads and removing rows from their view: written once, on top of what each storage provides.

Rows that another thread sees stay where they are. The thread gets a new head segment that sees less, and the other rows that it
keeps are copied there. A row is freed when its segment is no head and no edge of an existing child reaches the row. On SQLite
none of these coroutines ever suspends (see `storage.drive`).
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from threadloom.lineage.cut import edges_at
from threadloom.lineage.pending import counting
from threadloom.lineage.retain import Node, moved, unstored
from threadloom.lineage.segments import UNBOUNDED, Chain, Edge
from threadloom.storage.lineage.former_heads import drop_lost_tags, forget, shows_run, tagged_chains
from threadloom.storage.lineage.moves import FormerHead, Tag
from threadloom.storage.lineage.protocol import ChannelUsage, CheckpointRow, Lineage, Usage

Positions = Collection[int]
Ids = Collection[tuple[str, str]]
"""Checkpoints as pairs of namespace and id."""

WriteRow = tuple[tuple[str, str, str], int, int]
"""A stored write: `((namespace, checkpoint_id, task_id), idx, pos)`."""


class Tip(NamedTuple):
    """What a copy of a whole thread needs: its head segment with the last position drawn, the edge of that segment, whether the
    segment has any row, and the id of the newest root checkpoint that the thread sees.
    """

    head: Edge
    inherited: Edge | None
    written: bool
    newest: str | None


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

    async def place(self, thread_id: str, checkpoint_id: str) -> Edge | None:
        """Returns segment and position of a root checkpoint that a thread sees."""

    async def count_rows(self, segment: int, bound: int, most: int) -> int:
        """Returns how many checkpoints and pending writes a segment has at or below a bound. Counting stops at `most`."""

    async def new_segment(self, edge: Edge | None) -> int:
        """Creates a segment and returns its id."""

    async def begin(self, thread_ids: Sequence[str], edge: Edge) -> bool:
        """Creates a segment for each thread as its head, in a fixed number of statements. Returns False if one of them had a
        head.
        """

    async def move_head(self, thread_id: str, segment: int) -> None:
        """Sets the head of a thread, or a former head, and starts a new era. The segment may be the current one."""

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
        if at is None:
            tip = await self.tip(source)
            if tip is None:
                return None
            edge, newest = tip.head if tip.written else tip.inherited, tip.newest
        else:
            edge, newest = await self.place(source, at), at
            if edge is None:
                raise KeyError(at)
        if edge is not None and not await self.begin(targets, edge):
            raise ValueError(f"a thread of {', '.join(targets[:3])} has a history")
        return newest

    async def delete(self, thread_id: str) -> None:
        await self.lock(thread_id)
        for segment in await self.drop_heads(thread_id):
            await self.free(segment)

    async def rollback(self, thread_id: str, run_id: str) -> None:
        await self.lock(thread_id)
        first = await self.drop_span(thread_id, run_id)
        if first is not None and (chain := await self.chain(thread_id)):
            await self._truncate(thread_id, chain, first - 1)
            await drop_lost_tags(self, thread_id)

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        await self.lock(thread_id)
        first = await self.drop_span(thread_id, run_id)
        if first is None or not (chain := await self.chain(thread_id)):
            return
        # Runs of a thread never overlap. So pending writes before the first row of the next run belong to this run, whatever
        # checkpoint they are on.
        end = min((await self.spans(thread_id, first)).values(), default=UNBOUNDED)
        for former in await self.former_heads(thread_id):
            if await shows_run(self, await self.chain(former.head), run_id, first, end):
                await forget(self, former)
        await self._remove_run(thread_id, chain, run_id, first, end)
        await drop_lost_tags(self, thread_id)

    async def _remove_run(self, thread_id: str, chain: Chain, run_id: str, first: int, end: int) -> None:
        """Removes what a run put from a thread's view: its checkpoints, and pending writes in `[first, end)`."""
        doomed = await self.run_checkpoints(chain, run_id, first)
        ids = {(namespace, checkpoint_id) for _, namespace, checkpoint_id in doomed}
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
            await self._rewrite(thread_id, chain, await self._edge(chain, bound), checkpoints, writes, ())
        else:
            await self._truncate(thread_id, chain, bound)

    async def prune(self, thread_id: str) -> None:
        await self.lock(thread_id)
        chain = await self.chain(thread_id)
        tagged, pinned = await tagged_chains(self, thread_id)
        for former in await self.former_heads(thread_id):
            if former.head not in pinned:
                await forget(self, former)
        kept = list({node.pos: node for view in (chain, *tagged) for node in await self._needed(view)}.values())
        if not kept:
            return
        ids = {(node.namespace, node.checkpoint_id) for node in kept}
        orphans = {node.pos for node in kept if node.parent and (node.namespace, node.parent) not in ids}
        writes = [pos for _, _, pos in counting(await self.pending_writes(chain, ids))]
        wanted = len(kept) + len(writes)
        if len(chain) > 1 or orphans or await self.count_rows(*chain[0], wanted + 1) > wanted:
            await self._rewrite(thread_id, chain, None, [node.pos for node in kept], writes, orphans)

    async def _needed(self, chain: Chain) -> list[Node]:
        """Returns the newest checkpoint of each namespace, and the ancestors from which its delta channels are rebuilt."""
        needed: list[Node] = []
        for node in await self.newest(chain):
            needed.append(node)
            if channels := unstored(node):
                needed += await self.ancestors(chain, node, channels)
        return needed

    async def _edge(self, chain: Chain, bound: int) -> Edge | None:
        """Returns the edge that sees all of a chain up to a position; None when there is nothing to see."""
        edge, inherited = edges_at(chain, bound)
        return edge if await self.count_rows(*edge, 1) else inherited

    async def _truncate(self, thread_id: str, chain: Chain, bound: int) -> None:
        """Removes all rows above a position from a thread's view."""
        head = chain[0][0]
        edge = await self._edge(chain, bound)
        # A former head may show runs of which the thread sees nothing any more.
        formers = bool(await self.former_heads(thread_id))
        if edge is None and not formers:
            await self.delete(thread_id)
            return
        if edge is None:
            await self._switch(thread_id, head, await self.new_segment(None))
            return
        if not formers:
            await self.set_spans(thread_id, bound + 1, {})
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
        orphans: Positions,
    ) -> None:
        """Gives a thread a new head segment that has an edge and copies of the rows at these positions, and nothing else."""
        segment = await self.new_segment(edge)
        lower = edge[1] if edge else 0
        positions = await self.store_anew(segment, lower, checkpoints, writes, orphans)
        spans = await self.spans(thread_id, lower + 1)
        # A former head may show runs of which the thread sees nothing any more.
        others = spans if await self.former_heads(thread_id) else {}
        await self.set_spans(thread_id, lower + 1, {**others, **moved(spans, positions)})
        await self._switch(thread_id, chain[0][0], segment)

    async def _switch(self, thread_id: str, old: int, new: int) -> None:
        await self.move_head(thread_id, new)
        await self.free(old)
