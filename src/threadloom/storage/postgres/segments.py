"""The segments of histories on PostgreSQL: what `storage.lineage.operations` needs.

Other transactions may do the same at the same moment: see `functions.sql` for the locks.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import orjson

from threadloom.lineage.retain import Node
from threadloom.lineage.segments import Branches, Chain, Edge
from threadloom.storage.lineage.move_operations import MoveOperations
from threadloom.storage.lineage.moves import FormerHead, Tag, former_columns, former_head
from threadloom.storage.lineage.primitives import Ids, Positions, StoredRow, Tip, WriteRow
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import texts, unescaped
from threadloom.storage.postgres.edges import PostgresEdges
from threadloom.storage.postgres.lineage_reads import SQL, PostgresLineageReads, columns
from threadloom.storage.postgres.session import Session

CUTS = load(__package__, "segments.sql")

_TIP = CUTS["tip"].format(current=SQL["current"])

AT_ONCE = 2000
"""How many rows are freed within the transaction that made them invisible. Further rows are freed later in portions, because the
segments above are locked meanwhile, and every transaction that copies from them waits."""


class PostgresSegments(PostgresLineageReads, MoveOperations):
    """See `storage.lineage.operations.Segments`.

    Args:
        session: a transaction.
        edges: the process's cache of edges.
        collect_later: called after the commit when there are more than `AT_ONCE` rows to free.
    """

    def __init__(self, session: Session, edges: PostgresEdges, collect_later: Callable[[], None]) -> None:
        super().__init__(session, edges)
        self._collect_later = collect_later
        self._alone: set[str] = set()

    async def lock(self, *thread_ids: str) -> None:
        if not self._alone.issuperset(thread_ids):
            await self._db.execute(SQL["lock"], texts(thread_ids))
            self._alone.update(thread_ids)

    async def chain(self, thread_id: str) -> Chain:
        return (await self._chain(thread_id))[0]

    async def branches(self, chain: Chain) -> Branches:
        return (await self._edges.chain(self._db, chain[0][0]))[1] if chain else {}

    async def tip(self, thread_id: str) -> Tip | None:
        found = await self._db.fetchrow(_TIP, thread_id)
        if found is None:
            return None
        head, parent, upto, branch_at, position, written, newest = found
        return Tip((head, position), None if parent is None else (parent, upto), written, newest, branch_at)

    async def next_place(self, chain: Chain, namespace: str, after: int) -> int | None:
        found: int | None = await self._db.fetchval(CUTS["next_place"], *columns(chain), namespace, after)
        return found

    async def chain_from(self, edge: Edge) -> Chain:
        return (edge, *(await self._edges.chain(self._db, edge[0]))[0][1:])

    async def place(self, thread_id: str, checkpoint_id: str, namespace: str = "") -> Edge | None:
        found = await self._db.fetchrow(CUTS["place_of"], thread_id, checkpoint_id, namespace)
        return None if found is None else (found[0], found[1])

    async def count_rows(self, segment: int, bound: int, most: int) -> int:
        return int(await self._db.fetchval(CUTS["count_rows"], segment, bound, most))

    async def new_segment(self, edge: Edge | None, branch_at: int | None = None) -> int:
        return int(await self._db.fetchval(CUTS["insert_segment"], *(edge or (None, None)), branch_at))

    async def begin(self, thread_ids: Sequence[str], edge: Edge, branch_at: int | None = None) -> bool:
        begun = await self._db.fetchval(CUTS["begin"], texts(thread_ids), *edge, branch_at)
        return bool(begun == len(thread_ids))

    async def move_head(self, thread_id: str, segment: int) -> None:
        await self._db.execute(CUTS["move_head"], thread_id, segment)

    async def continue_on(self, thread_id: str, segment: int) -> None:
        await self._db.execute(CUTS["continue_on"], thread_id, segment)

    async def drop_heads(self, thread_id: str) -> Sequence[int]:
        return [row[0] for row in await self._db.fetch(CUTS["delete_heads"], thread_id)]

    async def former_heads(self, thread_id: str) -> list[FormerHead]:
        return [former_head(*row) for row in await self._db.fetch(CUTS["former_heads"], thread_id)]

    async def keep_former(self, thread_id: str, number: int, segment: int, former: FormerHead) -> None:
        head, *rest = former_columns(former)
        await self._db.execute(CUTS["insert_former"], number, head, thread_id, *rest, segment)

    async def replace_former(self, former: FormerHead) -> None:
        await self._db.execute(CUTS["replace_former"], *former_columns(former))

    async def drop_former(self, head: str) -> int:
        return int(await self._db.fetchval(CUTS["delete_former"], head))

    async def tags(self, thread_id: str) -> list[Tag]:
        return [Tag(*row) for row in await self._db.fetch(CUTS["tags"], thread_id)]

    async def tag(self, thread_id: str, name: str) -> Tag | None:
        row = await self._db.fetchrow(CUTS["tag"], thread_id, name)
        return None if row is None else Tag(*row)

    async def set_tag(self, thread_id: str, tag: Tag) -> None:
        values = (thread_id, tag.name, tag.checkpoint_id, tag.created_at, tag.updated_at)
        await self._db.execute(CUTS["set_tag"], *values)

    async def drop_tag(self, thread_id: str, name: str) -> bool:
        return await self._db.fetchrow(CUTS["delete_tag"], thread_id, name) is not None

    async def delete_above(self, segment: int, bound: int) -> bool:
        return await self._db.fetchrow(CUTS["delete_above"], segment, bound) is not None

    async def free(self, segment: int) -> None:
        if await self._db.fetchval(CUTS["collect"], segment, AT_ONCE):
            self._db.after.append(self._collect_later)

    async def begin_span(self, thread_id: str, run_id: str, first: int) -> None:
        await self._db.execute(CUTS["begin_span"], run_id, thread_id, first)

    async def drop_span(self, thread_id: str, run_id: str) -> int | None:
        first: int | None = await self._db.fetchval(CUTS["delete_span"], run_id, thread_id)
        return first

    async def spans(self, thread_id: str, first: int) -> Mapping[str, int]:
        return dict(await self._db.fetch(CUTS["spans_of_thread"], thread_id, first))

    async def set_spans(self, thread_id: str, first: int, spans: Mapping[str, int]) -> None:
        await self._db.execute(CUTS["delete_spans"], thread_id, first)
        if spans:
            await self._db.execute(CUTS["insert_spans"], thread_id, texts(spans), list(spans.values()))

    async def newest(self, chain: Chain) -> Sequence[Node]:
        return [_node(row) for row in await self._db.fetch(CUTS["newest_of_namespaces"], *columns(chain))]

    async def newest_of(self, chain: Chain, namespaces: Collection[str]) -> Sequence[Node]:
        rows = await self._db.fetch(CUTS["newest_of"], *columns(chain), texts(namespaces))
        return [_node(row) for row in rows]

    async def newest_inner(self, chain: Chain, after: int) -> Sequence[Node]:
        return [_node(row) for row in await self._db.fetch(CUTS["newest_inner"], *columns(chain), after)]

    async def nearest(self, chain: Chain, namespace: str, checkpoint_id: str, most: int) -> Sequence[Node]:
        values = (*columns(chain), namespace, checkpoint_id, most)
        return [_node(row) for row in await self._db.fetch(CUTS["nearest"], *values)]

    async def ancestors(self, chain: Chain, node: Node, channels: Collection[str]) -> Sequence[Node]:
        values = (*columns(chain), node.namespace, node.checkpoint_id, texts(channels))
        return [_node(row) for row in await self._db.fetch(CUTS["ancestors"], *values)]

    async def pending_writes(self, chain: Chain, ids: Ids) -> Sequence[WriteRow]:
        values = (
            *columns(chain),
            texts(namespace for namespace, _ in ids),
            texts(checkpoint_id for _, checkpoint_id in ids),
        )
        return [((row[0], row[1], row[2]), row[3], row[4]) for row in await self._db.fetch(CUTS["writes_of"], *values)]

    async def run_checkpoints(self, chain: Chain, run_id: str, first: int) -> Sequence[tuple[int, str, str]]:
        rows = await self._db.fetch(CUTS["checkpoints_of_run"], *columns(chain), run_id, first)
        return [(row[0], row[1], row[2]) for row in rows]

    async def rows_after(self, chain: Chain, bound: int) -> Sequence[StoredRow]:
        return [StoredRow(*row) for row in await self._db.fetch(CUTS["rows_after"], *columns(chain), bound)]

    async def store_anew(
        self, segment: int, lower: int, checkpoints: Positions, writes: Positions, orphans: Positions
    ) -> Mapping[int, int]:
        values = (segment, lower, list(checkpoints), list(writes), list(orphans))
        return dict(zip(*await self._db.fetchrow(CUTS["store_anew"], *values), strict=True))


def _node(row: Any) -> Node:
    *fields, stored, meta = row
    return Node._make((*fields, set(map(unescaped, stored)), orjson.loads(meta)))
