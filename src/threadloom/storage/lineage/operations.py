"""Copying threads and removing rows from their view: written once, on top of what each storage provides.

Rows that another thread sees stay where they are. The thread gets a new head segment that sees less, and the other rows that it
keeps are copied there. A row is freed when its segment is no head and no edge of an existing child reaches the row. On SQLite
none of these coroutines ever suspends (see `storage.drive`).
"""

import heapq
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from threadloom.lineage.branches import Views, current, moved_branch, parts_above
from threadloom.lineage.cut import edges_at
from threadloom.lineage.retain import Node, moved, unstored
from threadloom.lineage.segments import UNBOUNDED, Branches, Chain, Edge
from threadloom.storage.lineage.copy_operations import CopyOperations
from threadloom.storage.lineage.former_heads import drop_lost_tags, forget, shows_run, tagged_chains
from threadloom.storage.lineage.primitives import Positions
from threadloom.storage.lineage.protocol import CheckpointRow, Usage


class LineageOperations(CopyOperations):
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

    async def newest_root(self, thread_id: str) -> str | None:
        chain = await self.chain(thread_id)
        found = await self.newest_of(current(chain, await self.branches(chain)), [""]) if chain else ()
        return next((node.checkpoint_id for node in found), None)

    async def end_of_run(self, thread_id: str, run_id: str) -> int:
        spans = await self.spans(thread_id, 0)
        begin = spans.get(run_id, UNBOUNDED)
        return min((first for first in spans.values() if first > begin), default=UNBOUNDED)

    async def pending_of(self, thread_id: str, checkpoint_id: str) -> Collection[tuple[str, int]]:
        place = await self.place(thread_id, checkpoint_id)
        if place is None:
            return set()
        chain = await self.chain(thread_id)
        shown = Views(chain, await self.branches(chain)).showing(place[1])
        rows = await self.pending_writes(shown, [("", checkpoint_id)])
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
            edge, branches = await self._edge(chain, bound), await self.branches(chain)
            await self._rewrite(thread_id, chain, edge, checkpoints, writes, branches=branches)
        else:
            await self._truncate(thread_id, chain, bound)

    async def prune(self, thread_id: str) -> None:
        await self.lock(thread_id)
        chain = await self.chain(thread_id)
        branches = await self.branches(chain)
        shown = current(chain, branches)
        tagged, pinned = await tagged_chains(self, thread_id)
        if tagged is None:
            return
        for former in await self.former_heads(thread_id):
            if former.head not in pinned:
                await forget(self, former)
        nodes = {node.pos: node for view in (shown, *tagged) for node in await self._needed(view)}
        kept = [nodes[pos] for pos in sorted(nodes)]
        if not kept:
            return
        writes, orphans = await self._around(chain, shown, kept)
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
            some, written = ([pos for pos in rows if part.first < pos <= part.last] for rows in (checkpoints, writes))
            if not some and not written:
                continue
            at = None if part.branch_at is None or edge is None else moved_branch(part.branch_at, parts, positions)
            if segment is None or at is not None:
                segment = await self.new_segment(edge, at)
            positions |= await self.store_anew(segment, lower, some, written, orphans)
            edge = segment, max(positions.values())
        assert segment is not None  # there is a row
        spans = await self.spans(thread_id, lower + 1)
        # A former head may show runs of which the thread sees nothing any more.
        others = spans if await self.former_heads(thread_id) else {}
        await self.set_spans(thread_id, lower + 1, {**others, **moved(spans, positions)})
        await self._switch(thread_id, chain[0][0], segment)

    async def _switch(self, thread_id: str, old: int, new: int) -> None:
        await self.move_head(thread_id, new)
        await self.free(old)
