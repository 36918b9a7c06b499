"""Taking things out of a thread's view on PostgreSQL, and freeing the rows that nobody sees any more.

As on SQLite: rows that another thread sees stay where they are, and the thread goes on in a segment of its own that sees less.
Here others may do the same at the same moment: see `migrations/0001_initial.sql` for who waits for whom.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import orjson

from threadloom.lineage import pending
from threadloom.lineage.cut import edge_at
from threadloom.lineage.retain import Node, moved, retained, unstored
from threadloom.lineage.segments import UNBOUNDED, Chain, Edge
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped, unescaped
from threadloom.storage.postgres.edges import Edges
from threadloom.storage.postgres.lineage_reads import SQL, LineageReads, columns
from threadloom.storage.postgres.session import Session

CUTS = load(__package__, "collect.sql")

AT_ONCE = 2000
"""Rows that are freed within the transaction that made them superfluous. More are left to be freed bit by bit: segments above
are locked meanwhile, and with them everybody who wants to copy from there."""


class LineageCuts(LineageReads):
    """The part of `Lineage` that takes away.

    Args:
        session: a transaction.
        edges: what the process knows of segments.
        collect_later: is called, once it is committed, when there is more to free than `AT_ONCE` rows.
    """

    def __init__(self, session: Session, edges: Edges, collect_later: Callable[[], None]) -> None:
        super().__init__(session, edges)
        self._collect_later = collect_later
        self._alone: set[str] = set()

    async def _keep_others_out(self, *thread_ids: str) -> None:
        """Waits until nobody else writes on these threads, and makes everybody wait until the transaction ends."""
        if not self._alone.issuperset(thread_ids):
            await self._db.execute(SQL["lock"], [escaped(thread_id) for thread_id in thread_ids])
            self._alone.update(thread_ids)

    async def _cut(self, chain: Chain, bound: int) -> Edge | None:
        """The edge that sees all of a chain up to a position, see `edge_at`."""
        asked: list[tuple[int, int]] = []

        def ask(segment: int, limit: int) -> bool:
            asked.append((segment, limit))
            return True

        edge = edge_at(chain, bound, ask)
        if asked and not await self._db.fetchval(CUTS["has_row"], *asked[0]):
            edge = edge_at(chain, bound, lambda *_: False)
        return edge

    # --- freeing ---

    async def _collect(self, segment: int) -> None:
        """Frees what nobody sees of a segment that lost its head, and so on up the chain."""
        if await self._db.fetchval(CUTS["collect"], segment, AT_ONCE):
            self._db.after.append(self._collect_later)

    async def delete(self, thread_id: str) -> None:
        await self._keep_others_out(thread_id)
        segment = await self._db.fetchval(CUTS["forget"], thread_id)
        if segment is not None:
            await self._collect(segment)

    # --- cutting the end off ---

    async def rollback(self, thread_id: str, run_id: str) -> None:
        await self._keep_others_out(thread_id)
        first = await self._db.fetchval(CUTS["span"], run_id, thread_id)
        head = await self._head(thread_id)
        if first is not None and head is not None:
            await self._truncate(thread_id, await self._edges.chain(self._db, head[0]), first - 1)

    async def _truncate(self, thread_id: str, chain: Chain, bound: int) -> None:
        """Takes all above a position out of a thread's view."""
        seg = chain[0][0]
        await self._db.execute(CUTS["delete_spans"], thread_id, bound + 1)
        edge = await self._cut(chain, bound)
        if edge is None:
            await self._db.execute(CUTS["delete_head"], thread_id)
            await self._collect(seg)
        elif edge[0] == seg and await self._db.fetchval(CUTS["bound_of_children"], seg) <= bound:
            await self._db.execute(CUTS["drop_above"], seg, bound)
            await self._db.execute(CUTS["move_head"], thread_id, seg)
        else:
            await self._switch(thread_id, seg, await self._segment(edge))

    async def _segment(self, edge: Edge | None) -> int:
        seg: int = await self._db.fetchval(CUTS["insert_segment"], *(edge or (None, None)))
        return seg

    async def _switch(self, thread_id: str, old: int, new: int) -> None:
        """Another head for a thread, and a new era: what was known of its history no longer holds."""
        await self._db.execute(CUTS["move_head"], thread_id, new)
        await self._collect(old)

    # --- storing anew what stays ---

    async def prune(self, thread_id: str) -> None:
        await self._keep_others_out(thread_id)
        head = await self._head(thread_id)
        if head is None:
            return
        chain = await self._edges.chain(self._db, head[0])
        kept = await self._kept(chain)
        if not kept:
            return
        places = {node.pos for node in kept}
        ids = {(node.ns, node.cid) for node in kept}
        orphans = {node.pos for node in kept if node.parent and (node.ns, node.parent) not in ids}
        writes = await self._counting_writes(chain, ids)
        wanted = len(places) + len(writes)
        there = await self._db.fetchval(CUTS["count_rows"], head[0], wanted + 1)
        if len(chain) > 1 or there > wanted or orphans:
            await self._rewrite(thread_id, head[0], None, places, writes, orphans)

    async def _kept(self, chain: Chain) -> list[Node]:
        """The newest checkpoint of each namespace, with the ancestors that it needs."""
        kept: list[Node] = []
        for row in await self._db.fetch(CUTS["newest_of_namespaces"], *columns(chain)):
            node = _node(row)
            missing = [escaped(channel) for channel in unstored(node)]
            ancestors: dict[tuple[str, str], Node] = {}
            if missing:
                values = (*columns(chain), node.ns, node.cid, missing)
                for above in await self._db.fetch(CUTS["ancestors"], *values):
                    ancestors[above[1], above[2]] = _node(above)
            kept += retained(node, lambda ns, cid, known=ancestors: known.get((ns, cid)))  # type: ignore[misc]
        return kept

    async def _counting_writes(self, chain: Chain, ids: Iterable[tuple[str, str]]) -> list[int]:
        """Where the pending writes of checkpoints are, as far as they count."""
        namespaces, cids = _arrays(ids)
        rows = await self._db.fetch(CUTS["writes_of"], *columns(chain), namespaces, cids)
        of_one: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
        for ns, cid, *write in rows:
            of_one.setdefault((ns, cid), []).append(tuple(write))
        return [row[2] for writes in of_one.values() for row in pending.counting(writes)]

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        await self._keep_others_out(thread_id)
        head = await self._head(thread_id)
        first = await self._db.fetchval(CUTS["span"], run_id, thread_id)
        if head is None or first is None:
            return
        chain = await self._edges.chain(self._db, head[0])
        rows = await self._db.fetch(CUTS["checkpoints_of_run"], *columns(chain), run_id, first)
        doomed = {(ns, cid) for ns, cid in rows}
        answers = await self._writes_of_run(thread_id, chain, first)
        if doomed or answers:
            await self._without(thread_id, chain, doomed, answers)
        await self._db.execute(CUTS["delete_span"], run_id, thread_id)

    async def _writes_of_run(self, thread_id: str, chain: Chain, first: int) -> set[int]:
        """Positions of the pending writes that the run which begins at `first` put on whatever checkpoint of a thread: up to
        where the next one begins, for runs of a thread never overlap."""
        end = await self._db.fetchval(CUTS["next_span"], thread_id, first) or UNBOUNDED
        rows = await self._db.fetch(CUTS["writes_after"], *columns(chain), first - 1)
        return {pos for pos, _, _ in rows if pos < end}

    async def _without(
        self, thread_id: str, chain: Chain, doomed: Collection[tuple[str, str]], answers: Collection[int]
    ) -> None:
        """Takes checkpoints with their pending writes, and pending writes of others, out of a thread's view."""
        namespaces, cids = _arrays(doomed)
        place = await self._db.fetchval(CUTS["first_of"], *columns(chain), namespaces, cids)
        first = min(answers if place is None else {place, *answers})
        checkpoints = await self._after(chain, first, "checkpoints_after", doomed)
        writes = [pos for pos in await self._after(chain, first, "writes_after", doomed) if pos not in answers]
        if checkpoints or writes:
            edge = await self._cut(chain, first - 1)
            await self._rewrite(thread_id, chain[0][0], edge, checkpoints, writes, set())
        else:
            await self._truncate(thread_id, chain, first - 1)

    async def _after(self, chain: Chain, first: int, query: str, doomed: Collection[tuple[str, str]]) -> list[int]:
        """Positions after `first` that a chain shows, but those of the doomed checkpoints."""
        rows = await self._db.fetch(CUTS[query], *columns(chain), first)
        return [pos for pos, ns, cid in rows if (ns, cid) not in doomed]

    async def _rewrite(
        self,
        thread_id: str,
        old: int,
        edge: Edge | None,
        checkpoints: Iterable[int],
        writes: Iterable[int],
        orphans: Iterable[int],
    ) -> None:
        """Gives a thread a new head segment with an edge and, anew, the rows at these positions; nothing else.

        Args:
            orphans: positions of checkpoints that get no parent.
        """
        seg = await self._segment(edge)
        lower = edge[1] if edge else 0
        values = (seg, lower, list(checkpoints), list(writes), list(orphans))
        places = await self._db.fetchrow(CUTS["store_anew"], *values)
        positions = dict(zip(*places, strict=True))
        begins = moved(dict(await self._db.fetch(CUTS["spans_of_thread"], thread_id, lower + 1)), positions)
        await self._db.execute(CUTS["delete_spans"], thread_id, lower + 1)
        await self._db.execute(CUTS["insert_spans"], thread_id, [escaped(run) for run in begins], list(begins.values()))
        await self._switch(thread_id, old, seg)


def _arrays(ids: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Namespaces and ids of checkpoints."""
    pairs = [(escaped(ns), escaped(cid)) for ns, cid in ids]
    return [ns for ns, _ in pairs], [cid for _, cid in pairs]


def _node(row: Any) -> Node:
    pos, ns, cid, parent, stored, meta = row
    return Node(pos, ns, cid, parent, set(map(unescaped, stored)), orjson.loads(meta))
