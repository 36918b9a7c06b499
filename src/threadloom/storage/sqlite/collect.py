"""Taking things out of a thread's view on SQLite, and freeing the rows that nobody sees any more.

Rows that another thread sees stay where they are: the thread then goes on in a segment of its own that sees less. A row is
nobody's when its segment is no head and no living child's edge reaches it.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any

import orjson

from threadloom.lineage import pending
from threadloom.lineage.cut import edge_at
from threadloom.lineage.retain import Node, moved, retained
from threadloom.lineage.segments import UNBOUNDED, Chain, Edge, depth
from threadloom.storage.named import load
from threadloom.storage.sqlite.lineage_reads import SQL, LineageReads


class LineageCuts(LineageReads):
    """The part of `Lineage` that takes away, and the writer's sequence of positions."""

    CUTS = load(__package__, "collect.sql")

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._next: int | None = None

    # --- positions and segments ---

    def _last(self) -> int:
        """The largest position handed out so far."""
        if self._next is None:
            self._next = self._db.execute(SQL["last_position"]).fetchone()[0] + 1
        return self._next - 1

    def _take(self, count: int = 1) -> int:
        """The first of `count` new positions. Not given back by a rollback, so that none is ever handed out twice."""
        first = self._last() + 1
        self._next = first + count
        return first

    def _begin(self, thread_id: str, edge: Edge | None) -> tuple[int, int]:
        """A new segment as head of a thread that has none. Gives segment and era."""
        seg = self._segment(edge)
        self._db.execute(SQL["insert_head"], (thread_id, seg, seg))
        return seg, seg

    def _segment(self, edge: Edge | None) -> int:
        parent, upto = edge or (None, None)
        seg = self._take()
        self._db.execute(SQL["insert_segment"], (seg, parent, upto))
        return seg

    def _holds(self, seg: int, bound: int) -> bool:
        return self._true("has_row", (seg, bound))

    def _seen_by_children(self, seg: int) -> int:
        """The largest position of a segment that another segment sees, 0 for none."""
        bound: int | None = self._db.execute(self.CUTS["bound_of_children"], (seg,)).fetchone()[0]
        return bound or 0

    # --- freeing ---

    def _drop_above(self, seg: int, bound: int) -> None:
        """Deletes the rows of a segment above a position."""
        self._db.execute(SQL["note_position"], (self._last() + 1,))
        for query in ("delete_blobs_above", "delete_checkpoints_above", "delete_writes_above"):
            self._db.execute(self.CUTS[query], (seg, bound))

    def _collect(self, segment: int | None) -> None:
        """Frees what nobody sees of a segment that lost its head or a child, and so on up the chain."""
        while segment is not None:
            if self._db.execute(self.CUTS["is_head"], (segment,)).fetchone()[0]:
                return
            bound = self._seen_by_children(segment)
            self._drop_above(segment, bound)
            if bound:
                return
            edge = self._edges.of(segment)
            self._db.execute(self.CUTS["delete_segment"], (segment,))
            segment = edge[0] if edge else None

    async def delete(self, thread_id: str) -> None:
        head = self._head(thread_id)
        self._db.execute(self.CUTS["delete_spans"], (thread_id, 0))
        if head is not None:
            self._db.execute(SQL["delete_head"], (thread_id,))
            self._collect(head[0])

    # --- cutting the end off ---

    async def rollback(self, thread_id: str, run_id: str) -> None:
        span = self._db.execute(SQL["span"], (run_id, thread_id)).fetchone()
        head = self._head(thread_id)
        if span is not None and head is not None:
            self._truncate(thread_id, head[0], span[0] - 1)

    def _truncate(self, thread_id: str, seg: int, bound: int) -> None:
        """Takes all above a position out of a thread's view."""
        self._db.execute(self.CUTS["delete_spans"], (thread_id, bound + 1))
        edge = edge_at(self._chain(seg), bound, self._holds)
        if edge is not None and edge[0] == seg and self._seen_by_children(seg) <= bound:
            self._drop_above(seg, bound)
            self._switch(thread_id, seg, seg)
        elif edge is not None:
            self._switch(thread_id, seg, self._segment(edge))
        else:
            self._db.execute(SQL["delete_head"], (thread_id,))
            self._collect(seg)

    def _switch(self, thread_id: str, old: int, new: int) -> None:
        """Another head for a thread, and a new era: what was known of its history no longer holds."""
        self._db.execute(SQL["move_head"], (thread_id, new, self._take()))
        if new != old:
            self._collect(old)

    # --- storing anew what stays ---

    async def prune(self, thread_id: str) -> None:
        head = self._head(thread_id)
        if head is None:
            return
        chain = self._chain(head[0])
        kept = self._kept(chain)
        if not kept:
            return
        places = {node.pos for node in kept}
        ids = {(node.ns, node.cid) for node in kept}
        orphans = {node.pos for node in kept if node.parent and (node.ns, node.parent) not in ids}
        writes = [place for node in kept for place in self._counting_writes(chain, node.ns, node.cid)]
        there = self._db.execute(self.CUTS["count_rows"], (head[0],)).fetchone()[0]
        if len(chain) > 1 or there > len(places) + len(writes) or orphans:
            self._rewrite(thread_id, head[0], None, places, writes, orphans)

    def _kept(self, chain: Chain) -> list[Node]:
        """The newest checkpoint of each namespace, with the ancestors that it needs."""
        newest: dict[str, int] = {}
        for link in chain:
            for ns, pos in self._db.execute(SQL["newest_of_namespaces"], link):
                newest.setdefault(ns, pos)
        return [node for pos in newest.values() for node in retained(self._node(pos), self._lookup(chain))]

    def _lookup(self, chain: Chain) -> Any:
        def lookup(ns: str, cid: str) -> Node | None:
            place = self._newest_place(chain, ns, cid)
            return None if place is None else self._node(place)

        return lookup

    def _newest_place(self, chain: Chain, ns: str, cid: str) -> int | None:
        for pos, seg in self._db.execute(self.CUTS["places_of"], (cid, ns)):
            if depth(chain, seg, pos) is not None:
                place: int = pos
                return place
        return None

    def _node(self, pos: int) -> Node:
        _, ns, cid, parent, refs, small, meta = self._db.execute(self.CUTS["node"], (pos,)).fetchone()
        stored = {*orjson.loads(refs), *orjson.loads(small)}
        return Node(pos, ns, cid, parent, stored, orjson.loads(meta))

    def _counting_writes(self, chain: Chain, ns: str, cid: str) -> list[int]:
        rows = [
            row
            for seg, bound in reversed(chain)
            for row in self._db.execute(self.CUTS["write_places"], (seg, cid, ns, bound))
        ]
        return [row[2] for row in pending.counting(rows)]

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        head = self._head(thread_id)
        span = self._db.execute(SQL["span"], (run_id, thread_id)).fetchone()
        if head is None or span is None:
            return
        [first] = span
        chain = self._chain(head[0])
        doomed = {
            (ns, cid)
            for seg, bound in chain
            for pos, ns, cid in self._db.execute(self.CUTS["checkpoints_of_run"], (seg, first, bound, run_id))
            if self._newest_place(chain, ns, cid) == pos
        }
        answers = self._writes_of_run(thread_id, chain, first)
        if doomed or answers:
            self._without(thread_id, chain, doomed, answers)
        self._db.execute(self.CUTS["delete_span"], (run_id, thread_id))

    def _writes_of_run(self, thread_id: str, chain: Chain, first: int) -> set[int]:
        """Positions of the pending writes that the run which begins at `first` put on whatever checkpoint of a thread: up to
        where the next one begins, for runs of a thread never overlap."""
        end: int = self._db.execute(SQL["next_span"], (thread_id, first)).fetchone()[0] or UNBOUNDED
        return {
            pos
            for seg, bound in chain
            for pos, _, _ in self._db.execute(self.CUTS["writes_between"], (seg, first - 1, min(bound, end - 1)))
        }

    def _without(self, thread_id: str, chain: Chain, doomed: set[tuple[str, str]], answers: set[int]) -> None:
        """Takes checkpoints with their pending writes, and pending writes of others, out of a thread's view."""
        places = {
            pos
            for ns, cid in doomed
            for pos, seg in self._db.execute(self.CUTS["places_of"], (cid, ns))
            if depth(chain, seg, pos) is not None
        }
        first = min(places | answers)
        checkpoints = self._between(chain, first, "checkpoints_between", doomed)
        writes = [pos for pos in self._between(chain, first, "writes_between", doomed) if pos not in answers]
        if checkpoints or writes:
            edge = edge_at(chain, first - 1, self._holds)
            self._rewrite(thread_id, chain[0][0], edge, checkpoints, writes, set())
        else:
            self._truncate(thread_id, chain[0][0], first - 1)

    def _between(self, chain: Chain, first: int, query: str, doomed: set[tuple[str, str]]) -> list[int]:
        """Positions after `first` that a chain shows, but those of the doomed checkpoints."""
        return [
            pos
            for seg, bound in chain
            if bound > first
            for pos, ns, cid in self._db.execute(self.CUTS[query], (seg, first, bound))
            if (ns, cid) not in doomed
        ]

    def _rewrite(
        self,
        thread_id: str,
        old: int,
        edge: Edge | None,
        checkpoints: Iterable[int],
        writes: Iterable[int],
        orphans: set[int],
    ) -> None:
        """Gives a thread a new head segment with an edge and, anew, the rows at these positions; nothing else.

        Args:
            orphans: positions of checkpoints that get no parent.
        """
        seg = self._segment(edge)
        rows = sorted([(pos, True) for pos in checkpoints] + [(pos, False) for pos in writes])
        blobs: dict[int, int] = {}
        positions: dict[int, int] = {}
        for pos, is_checkpoint in rows:
            new = positions[pos] = self._take()
            if is_checkpoint:
                refs = self._refs_anew(pos, new, edge[1] if edge else 0, blobs)
                parent = None if pos in orphans else self._db.execute(self.CUTS["parent_of"], (pos,)).fetchone()[0]
                self._db.execute(self.CUTS["copy_checkpoint"], (new, seg, parent, refs, pos))
            else:
                self._db.execute(self.CUTS["copy_write"], (new, seg, pos))
        lower = edge[1] if edge else 0
        spans = dict(self._db.execute(SQL["spans_of_thread"], (thread_id, lower + 1)).fetchall())
        begins = moved(spans, positions)
        self._db.execute(self.CUTS["delete_spans"], (thread_id, lower + 1))
        for run, first in begins.items():
            self._db.execute(SQL["insert_span"], (run, thread_id, first))
        self._switch(thread_id, old, seg)

    def _refs_anew(self, pos: int, new: int, lower: int, blobs: dict[int, int]) -> str:
        """The refs of a checkpoint stored anew. Values that lie above `lower`, and those they build on, are stored anew too, each
        once."""
        refs: dict[str, int] = orjson.loads(self._db.execute(self.CUTS["refs_at"], (pos,)).fetchone()[0])
        return orjson.dumps(
            {channel: self._blob_anew(blob, new, lower, blobs) for channel, blob in refs.items()}
        ).decode()

    def _blob_anew(self, blob: int, new: int, lower: int, blobs: dict[int, int]) -> int:
        if blob not in blobs:
            place, base = self._db.execute(self.CUTS["blob_place"], (blob,)).fetchone()
            blobs[blob] = blob
            if place > lower:
                if base is not None:
                    base = self._blob_anew(base, new, lower, blobs)
                blobs[blob] = self._db.execute(self.CUTS["free_blob_id"]).fetchone()[0]
                self._db.execute(self.CUTS["copy_blob"], (blobs[blob], new, base, blob))
        return blobs[blob]
