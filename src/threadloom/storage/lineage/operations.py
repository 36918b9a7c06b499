"""Copying threads and removing rows from their view: written once, on top of what each storage provides.

Rows that another thread sees stay where they are. The thread gets a new head segment that sees less, and the other rows that it
keeps are copied there. A row is freed when its segment is no head and no edge of an existing child reaches the row. On SQLite
none of these coroutines ever suspends (see `storage.drive`).
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from threadloom.errors import UnstoredParentError
from threadloom.lineage.cut import edges_at
from threadloom.lineage.pending import counting
from threadloom.lineage.retain import Node, missing_below, moved, unstored
from threadloom.lineage.segments import UNBOUNDED, Chain, Edge, inherited_at
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


class End(NamedTuple):
    """Where copies of a thread end.

    Attributes:
        edge: the edge of the copies; None if there is nothing to see.
        newest: the newest root checkpoint that the copies show.
        outdated: the checkpoints of graphs around the last one that are not the newest of their namespaces through the edge.
        path: if there are any, the checkpoints that must be stored anew, so that all are the newest: from the root to the last.
    """

    edge: Edge | None
    newest: str | None
    outdated: Sequence[Node] = ()
    path: Sequence[Node] = ()


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

    async def chain_from(self, edge: Edge) -> Chain:
        """Returns the chain of a segment that has this edge, without the segment itself."""

    async def place(self, thread_id: str, checkpoint_id: str, namespace: str = "") -> Edge | None:
        """Returns segment and position of a checkpoint that a thread sees. Of one that was put again, those of the first put:
        what builds on it came after that.
        """

    async def count_rows(self, segment: int, bound: int, most: int) -> int:
        """Returns how many checkpoints and pending writes a segment has at or below a bound. Counting stops at `most`."""

    async def new_segment(self, edge: Edge | None) -> int:
        """Creates a segment and returns its id."""

    async def begin(self, thread_ids: Sequence[str], edge: Edge) -> bool:
        """Creates a segment for each thread as its head, in a fixed number of statements. Returns False if one of them had a
        head.
        """

    async def move_head(self, thread_id: str, segment: int) -> None:
        """Sets a thread's head, which may be its current one, and starts a new era."""

    async def drop_head(self, thread_id: str) -> int | None:
        """Removes a thread's head and its run spans. Returns the segment that was the head."""

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

    async def copy(
        self, source: str, target: str, *, at: str | None = None, namespace: str = "", keep: int | None = None
    ) -> str | None:
        await self.lock(source, target)
        return await self.copy_many(source, [target], at=at, namespace=namespace, keep=keep)

    async def copy_many(
        self,
        source: str,
        targets: Sequence[str],
        *,
        at: str | None = None,
        namespace: str = "",
        keep: int | None = None,
    ) -> str | None:
        await self.lock(source)
        end = await (self._whole(source) if at is None else self._cut(source, namespace, at))
        edge = end.edge
        if edge is not None and keep is not None:
            edge = await self._keep(edge, end, keep)
        elif edge is not None and end.outdated:
            edge = await self._renew(edge, end)
        if edge is not None and not await self.begin(targets, edge):
            raise ValueError(f"a thread of {', '.join(targets[:3])} has a history")
        return end.newest

    async def root_of_cut(self, thread_id: str, namespace: str, checkpoint_id: str) -> tuple[str | None, int]:
        end = await self._cut(thread_id, namespace, checkpoint_id)
        assert end.edge is not None
        bare = any(not node.namespace for node in end.outdated)
        return end.newest, 0 if bare else end.edge[1]

    async def _whole(self, source: str) -> End:
        tip = await self.tip(source)
        return End(None, None) if tip is None else End(tip.head if tip.written else tip.inherited, tip.newest)

    async def _cut(self, source: str, namespace: str, at: str) -> End:
        """Returns the end of a copy at a checkpoint. For one of a subgraph, the checkpoints that it was made under are the newest
        of their namespaces, as they were at that moment.
        """
        edge = await self.place(source, at, namespace)
        if edge is None:
            raise KeyError(at)
        if not namespace:
            return End(edge, at)
        chain = await self.chain_from(edge)
        [cut] = await self.nearest(chain, namespace, at, 1)
        parents = {name: id_ for name, id_ in cut.meta.get("parents", {}).items() if name != namespace}
        newest = {node.namespace: node for node in await self.newest_of(chain, {"", *parents})}
        path: list[Node] = []
        for name, id_ in parents.items():
            if name in newest and newest[name].checkpoint_id == id_:
                path.append(newest[name])
            elif found := await self.nearest(chain, name, id_, 1):
                path += found
            else:
                raise UnstoredParentError(f"checkpoint {id_} of a parent graph of checkpoint {at} was not stored")
        root = parents.get("", newest[""].checkpoint_id if "" in newest else None)
        outdated = [node for node in path if node != newest.get(node.namespace)]
        return End(edge, root, outdated, [*path, cut] if outdated else ())

    async def _renew(self, edge: Edge, end: End) -> Edge:
        """Returns an edge through which a checkpoint and those around it are the newest of their namespaces. Those that were not
        have no pending writes, so their tasks are executed again, as when a run starts from an older checkpoint.
        """
        writes, _ = await self._around(await self.chain_from(edge), end.path, bare=end.outdated)
        segment = await self.new_segment(edge)
        positions = await self.store_anew(segment, edge[1], [node.pos for node in end.path], writes, ())
        return segment, max(positions.values())

    async def _keep(self, edge: Edge, end: End, most: int) -> Edge | None:
        """Stores the newest root checkpoints anew, in a segment without parent. Returns the edge to it; None if there are none.

        Kept with them: the newest checkpoints of subgraphs that belong to them or keep their state between runs, pending writes,
        and what delta channels are rebuilt from.
        """
        chain = await self.chain_from(edge)
        roots = [] if end.newest is None else await self.nearest(chain, "", end.newest, most)
        if not roots:
            return None
        newest = {node.namespace: node for node in await self.newest_inner(chain, roots[-1].pos)}
        newest |= {node.namespace: node for node in end.outdated if node.namespace}
        shown = {root.checkpoint_id for root in roots}
        inner = [
            node
            for node in newest.values()
            if ":" not in node.namespace or node.meta.get("parents", {}).get("") in shown
        ]
        kept = [*roots, *inner]
        for oldest, channels in [(roots[-1], missing_below(roots)), *((node, unstored(node)) for node in inner)]:
            if channels:
                kept += await self.ancestors(chain, oldest, channels)
        writes, orphans = await self._around(chain, kept, bare=end.outdated)
        segment = await self.new_segment(None)
        positions = await self.store_anew(segment, 0, [node.pos for node in kept], writes, orphans)
        return segment, max(positions.values())

    async def _around(
        self, chain: Chain, kept: Collection[Node], *, bare: Collection[Node] = ()
    ) -> tuple[Positions, Positions]:
        """Returns the valid pending writes of checkpoints that are kept, except those of `bare`, and the checkpoints whose parent
        is not kept.
        """
        ids = {(node.namespace, node.checkpoint_id) for node in kept}
        orphans = {node.pos for node in kept if node.parent and (node.namespace, node.parent) not in ids}
        ids -= {(node.namespace, node.checkpoint_id) for node in bare}
        # Pending writes above the segment of a checkpoint are not visible: the checkpoint was put again below them.
        lower = {(node.namespace, node.checkpoint_id): inherited_at(chain, node.pos) for node in kept}
        rows = [row for row in await self.pending_writes(chain, ids) if row[2] > lower[row[0][0], row[0][1]]]
        return [pos for _, _, pos in counting(rows)], orphans

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
            await self._rewrite(thread_id, chain, await self._edge(chain, bound), checkpoints, writes, ())
        else:
            await self._truncate(thread_id, chain, bound)

    async def prune(self, thread_id: str) -> None:
        await self.lock(thread_id)
        chain = await self.chain(thread_id)
        kept: list[Node] = []
        for node in await self.newest(chain):
            kept.append(node)
            if channels := unstored(node):
                kept += await self.ancestors(chain, node, channels)
        if not kept:
            return
        writes, orphans = await self._around(chain, kept)
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
        await self.set_spans(thread_id, lower + 1, moved(spans, positions))
        await self._switch(thread_id, chain[0][0], segment)

    async def _switch(self, thread_id: str, old: int, new: int) -> None:
        await self.move_head(thread_id, new)
        await self.free(old)
