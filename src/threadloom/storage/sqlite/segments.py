"""The segments of histories on SQLite: what `storage.lineage.operations` needs, and the writer's sequence of positions."""

import itertools
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from threadloom.codec import to_json
from threadloom.lineage.retain import Node
from threadloom.lineage.segments import UNBOUNDED, Branches, Chain, Edge
from threadloom.storage.lineage.move_operations import MoveOperations
from threadloom.storage.lineage.moves import FormerHead, Tag, former_columns, former_head
from threadloom.storage.lineage.primitives import Ids, Positions, StoredRow, Tip, WriteRow
from threadloom.storage.named import load
from threadloom.storage.sqlite.lineage_reads import SQL, SqliteLineageReads

CUTS = load(__package__, "segments.sql")


class SqliteSegments(SqliteLineageReads, MoveOperations):
    """See `storage.lineage.operations.Segments`. There is one writer, so no locks are needed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._next: int | None = None
        self._lowest_blob: int | None = None

    def _last(self) -> int:
        """The largest position used so far."""
        if self._next is None:
            self._next = self._db.execute(SQL["last_position"]).fetchone()[0] + 1
        return self._next - 1

    def _take(self, count: int = 1) -> int:
        """Returns the first of `count` new positions. A rollback does not return them, so no position is ever used twice."""
        first = self._last() + 1
        self._next = first + count
        return first

    def _new_blob_copy(self) -> int:
        """An id for a value stored anew: those of the storage count upwards, these downwards. Like a position, none is handed
        out twice: savers remember values by their ids, also those that are gone."""
        if self._lowest_blob is None:
            self._lowest_blob = int(self._one("lowest_blob"))
        self._lowest_blob -= 1
        return self._lowest_blob

    def _one(self, query: str, *values: Any) -> Any:
        """Returns the first field of a query's first row, None if there is no row."""
        row = self._db.execute(CUTS[query], values).fetchone()
        return None if row is None else row[0]

    async def lock(self, *thread_ids: str) -> None:
        pass

    async def chain(self, thread_id: str) -> Chain:
        head = self._head(thread_id)
        return () if head is None else self._chain(head[0])

    async def tip(self, thread_id: str) -> Tip | None:
        found = self._db.execute(CUTS["tip"], (thread_id,)).fetchone()
        if found is None:
            return None
        head, parent, upto, branch_at, written, newest = found
        inherited = None if parent is None else (parent, upto)
        if newest is None and inherited is not None:
            newest = next(filter(None, (self._one("newest_root", *link) for link in self._current(head)[1:])), None)
        return Tip((head, self._last()), inherited, bool(written), newest, branch_at)

    async def branches(self, chain: Chain) -> Branches:
        return self._edges.branches(chain)

    async def chain_from(self, edge: Edge) -> Chain:
        return (edge, *self._chain(edge[0])[1:])

    async def place(self, thread_id: str, checkpoint_id: str, namespace: str = "") -> Edge | None:
        places = self._places(await self.chain(thread_id), checkpoint_id, namespace)
        return None if not places else (places[-1][1], places[-1][0])

    async def count_rows(self, segment: int, bound: int, most: int) -> int:
        return int(self._one("count_rows", segment, bound, most))

    def _bound_of_children(self, segment: int) -> int:
        return int(self._one("bound_of_children", segment))

    async def next_place(self, chain: Chain, namespace: str, after: int) -> int | None:
        links = ((seg, namespace, after, bound) for seg, bound in chain if bound > after)
        return min(filter(None, (self._one("next_of_namespace", *link) for link in links)), default=None)

    async def new_segment(self, edge: Edge | None, branch_at: int | None = None) -> int:
        segment = self._take()
        self._db.execute(SQL["insert_segment"], (segment, *(edge or (None, None)), branch_at))
        return segment

    async def begin(self, thread_ids: Sequence[str], edge: Edge, branch_at: int | None = None) -> bool:
        first, names = self._take(len(thread_ids)), to_json(thread_ids).decode()
        self._db.execute(CUTS["insert_segments"], (first, *edge, branch_at, names))
        return self._db.execute(CUTS["insert_heads"], (first, names)).rowcount == len(thread_ids)

    async def move_head(self, thread_id: str, segment: int) -> None:
        self._db.execute(CUTS["move_head"], (thread_id, segment, self._take()))

    async def continue_on(self, thread_id: str, segment: int) -> None:
        self._db.execute(CUTS["continue_on"], (thread_id, segment))

    async def drop_heads(self, thread_id: str) -> Sequence[int]:
        await self.set_spans(thread_id, 0, {})
        found = self._db.execute(CUTS["delete_head"], (thread_id,)).fetchone()
        if found is None:
            return []
        segment, more = found
        if not more:
            return [segment]
        self._db.execute(CUTS["delete_tags"], (thread_id,))
        former = [head for (head,) in self._db.execute(CUTS["delete_formers"], (thread_id,)).fetchall()]
        return [segment, *(self._one("delete_head", head) for head in former)]

    async def former_heads(self, thread_id: str) -> list[FormerHead]:
        return [former_head(*row) for row in self._db.execute(CUTS["former_heads"], (thread_id,))]

    async def keep_former(self, thread_id: str, number: int, segment: int, former: FormerHead) -> None:
        head, *rest = former_columns(former)
        await self.move_head(former.head, segment)
        self._db.execute(CUTS["insert_former"], (number, head, thread_id, *rest))

    async def replace_former(self, former: FormerHead) -> None:
        self._db.execute(CUTS["replace_former"], former_columns(former))

    async def drop_former(self, head: str) -> int:
        self._db.execute(CUTS["delete_former"], (head,))
        return int(self._one("delete_head", head))

    async def tags(self, thread_id: str) -> list[Tag]:
        return [Tag(*row) for row in self._db.execute(CUTS["tags"], (thread_id,))]

    async def tag(self, thread_id: str, name: str) -> Tag | None:
        row = self._db.execute(CUTS["tag"], (thread_id, name)).fetchone()
        return None if row is None else Tag(*row)

    async def set_tag(self, thread_id: str, tag: Tag) -> None:
        self._db.execute(CUTS["set_tag"], (thread_id, tag.name, tag.checkpoint_id, tag.created_at, tag.updated_at))

    async def drop_tag(self, thread_id: str, name: str) -> bool:
        return self._db.execute(CUTS["delete_tag"], (thread_id, name)).rowcount > 0

    async def delete_above(self, segment: int, bound: int) -> bool:
        seen = self._bound_of_children(segment) > bound
        if not seen:
            self._delete_above(segment, bound)
        return not seen

    def _delete_above(self, segment: int, bound: int) -> None:
        self._db.execute(CUTS["note_position"], (self._last() + 1,))
        for query in ("delete_blobs_above", "delete_checkpoints_above", "delete_writes_above"):
            self._db.execute(CUTS[query], (segment, bound))

    async def free(self, segment: int) -> None:
        while not self._one("is_head", segment):
            bound = self._bound_of_children(segment)
            self._delete_above(segment, bound)
            if bound:
                return
            edge = self._edges.of(segment)
            self._db.execute(CUTS["delete_segment"], (segment,))
            if edge is None:
                return
            segment = edge[0]

    async def begin_span(self, thread_id: str, run_id: str, first: int) -> None:
        self._db.execute(SQL["insert_span"], (run_id, thread_id, first))

    async def drop_span(self, thread_id: str, run_id: str) -> int | None:
        first: int | None = self._one("delete_span", run_id, thread_id)
        return first

    async def spans(self, thread_id: str, first: int) -> Mapping[str, int]:
        return dict(self._db.execute(CUTS["spans_of_thread"], (thread_id, first)).fetchall())

    async def set_spans(self, thread_id: str, first: int, spans: Mapping[str, int]) -> None:
        self._db.execute(CUTS["delete_spans"], (thread_id, first))
        if spans:
            self._db.executemany(SQL["insert_span"], [(run, thread_id, begin) for run, begin in spans.items()])

    async def newest(self, chain: Chain) -> Sequence[Node]:
        found: dict[str, int] = {}
        for link in chain:
            for namespace, pos in self._db.execute(CUTS["newest_of_namespaces"], link):
                found.setdefault(namespace, pos)
        return [self._node(pos) for pos in found.values()]

    async def newest_of(self, chain: Chain, namespaces: Collection[str]) -> Sequence[Node]:
        found = []
        for name in namespaces:
            places = (self._one("newest_of_namespace", seg, name, bound) for seg, bound in chain)
            if (pos := next(filter(None, places), None)) is not None:
                found.append(self._node(pos))
        return found

    async def newest_inner(self, chain: Chain, after: int) -> Sequence[Node]:
        found: dict[str, int] = {}
        for link in chain:
            for namespace, pos in self._db.execute(CUTS["newest_inner"], (*link, after)):
                found.setdefault(namespace, pos)
        return [self._node(pos) for pos in found.values()]

    async def nearest(self, chain: Chain, namespace: str, checkpoint_id: str, most: int) -> Sequence[Node]:
        found: list[Node] = []
        following: str | None = checkpoint_id
        last = UNBOUNDED
        while len(found) < most and following:
            last = next((pos for pos, _ in self._places(chain, following, namespace) if pos < last), 0)
            if not last:
                break
            found.append(self._node(last))
            following = found[-1].parent
        return found

    def _node(self, pos: int) -> Node:
        *fields, refs, small, meta = self._db.execute(CUTS["node"], (pos,)).fetchone()
        return Node._make((*fields, {*orjson.loads(refs), *orjson.loads(small)}, orjson.loads(meta)))

    async def ancestors(self, chain: Chain, node: Node, channels: Collection[str]) -> Sequence[Node]:
        found: list[Node] = []
        missing = set(channels)
        while missing and node.parent is not None and (places := self._places(chain, node.parent, node.namespace)):
            node = self._node(places[0][0])
            found.append(node)
            missing.difference_update(node.stored)
        return found

    async def pending_writes(self, chain: Chain, ids: Ids) -> Sequence[WriteRow]:
        return [
            ((namespace, checkpoint_id, task_id), idx, pos)
            for (namespace, checkpoint_id), (seg, bound) in itertools.product(
                ids, reversed(chain)
            )  # positions are smaller in segments further up
            for task_id, idx, pos in self._db.execute(CUTS["write_places"], (seg, checkpoint_id, namespace, bound))
        ]

    async def run_checkpoints(self, chain: Chain, run_id: str, first: int) -> Sequence[tuple[int, str, str]]:
        found: list[tuple[int, str, str]] = []
        for seg, bound in chain:
            for pos, namespace, checkpoint_id in self._db.execute(
                CUTS["checkpoints_of_run"], (seg, first, bound, run_id)
            ):
                places = self._places(chain, checkpoint_id, namespace)
                if places[0][0] == pos:
                    found.append((places[-1][0], namespace, checkpoint_id))
        return found

    async def rows_after(self, chain: Chain, bound: int) -> Sequence[StoredRow]:
        links = [(seg, bound, limit) for seg, limit in chain if limit > bound]
        return [StoredRow(*row) for link in links for row in self._db.execute(CUTS["rows_between"], link)]

    async def store_anew(
        self, segment: int, lower: int, checkpoints: Positions, writes: Positions, orphans: Positions
    ) -> Mapping[int, int]:
        blobs: dict[int, int] = {}
        positions: dict[int, int] = {}
        for pos, is_checkpoint in sorted([(pos, True) for pos in checkpoints] + [(pos, False) for pos in writes]):
            new = positions[pos] = self._take()
            if is_checkpoint:
                refs = self._refs_anew(pos, new, lower, blobs)
                self._db.execute(CUTS["copy_checkpoint"], (new, segment, refs, pos, pos in orphans))
            else:
                self._db.execute(CUTS["copy_write"], (new, segment, pos))
        return positions

    def _refs_anew(self, pos: int, new: int, lower: int, blobs: dict[int, int]) -> str:
        """Returns the refs of a copied checkpoint. `blobs` maps the blobs that were already copied for other checkpoints."""
        refs: dict[str, int] = orjson.loads(self._one("refs_at", pos))
        return to_json({channel: self._blob_anew(blob, new, lower, blobs) for channel, blob in refs.items()}).decode()

    def _blob_anew(self, blob: int, new: int, lower: int, blobs: dict[int, int]) -> int:
        """Returns the blob for a copied checkpoint: the same one, or a copy that builds on copies of its bases."""
        if blob not in blobs:
            place, base = self._db.execute(CUTS["blob_place"], (blob,)).fetchone()
            blobs[blob] = blob
            if place > lower:
                if base is not None:
                    base = self._blob_anew(base, new, lower, blobs)
                blobs[blob] = self._new_blob_copy()
                self._db.execute(CUTS["copy_blob"], (blobs[blob], new, base, blob))
        return blobs[blob]
