"""Reading histories on SQLite: every statement sees only what the thread's chain shows."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from threadloom.codec import to_json
from threadloom.lineage import pending
from threadloom.lineage.branches import Views, current
from threadloom.lineage.segments import UNBOUNDED, Chain, Edges, depth, floor
from threadloom.lineage.turns import RootCheckpoint
from threadloom.storage.lineage import Blob, CheckpointRow, Digests, PendingWrite, Step, root_checkpoints, with_bases
from threadloom.storage.lineage.protocol import ChannelUsage
from threadloom.storage.named import load

SQL = load(__package__, "lineage.sql")


class Row(NamedTuple):
    """A row of `checkpoints`, in the order in which the statements name its columns."""

    pos: int
    seg: int
    namespace: str
    checkpoint_id: str
    parent: str | None
    body_type: str
    body: bytes
    refs: str
    small: str
    meta: str


BLOBS = 200
"""Maximum number of blobs read with one statement."""

_LATEST, _BY_ID, _BY_POSITION, _WRITES = SQL["latest_of_head"], SQL["by_id"], SQL["by_position"], SQL["writes_of"]


def _blobs_sql(count: int) -> str:
    return f"SELECT id, type, data, base, number, size FROM blobs WHERE id IN ({', '.join('?' * count)})"


_BLOBS_SQL = [_blobs_sql(count) for count in range(BLOBS + 1)]


class SqliteLineageReads:
    """The reading half of `Lineage`.

    Args:
        connection: a connection within a transaction, so that the statements of one read see one state.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._edges = Edges(self._load_edge)

    def _load_edge(self, segment: int) -> tuple[int, int, int | None] | None:
        row: tuple[int, int, int | None] | None = self._db.execute(SQL["edge"], (segment,)).fetchone()
        return None if row is None or row[0] is None else row

    def _head(self, thread_id: str) -> tuple[int, int] | None:
        """Returns the thread's head segment and its era."""
        head: tuple[int, int] | None = self._db.execute(SQL["head"], (thread_id,)).fetchone()
        return head

    def _chain(self, head: int) -> Chain:
        return self._edges.chain(head)

    def _current(self, head: int, at: int = UNBOUNDED) -> Chain:
        """Returns what the newest branch of the thread with this head shows. See `lineage.branches.current`."""
        chain = self._chain(head)
        return current(chain, self._edges.branches(chain), at)

    def _views(self, chain: Chain) -> Views | None:
        """Returns what the branches of a chain show; None if it has none."""
        branches = self._edges.branches(chain)
        return Views(chain, branches) if branches else None

    async def latest(self, thread_id: str, namespace: str, *, at: int = UNBOUNDED) -> CheckpointRow | None:
        found = self._db.execute(_LATEST, (thread_id, namespace)).fetchone()
        if found is None:
            return None
        if found[2] is not None and found[2] <= at:
            return self._row(thread_id, found[1], Row._make(found[2:]), ((found[0], at),))
        chain = self._current(found[0], at)
        for index, (seg, bound) in enumerate(chain):
            if bound == UNBOUNDED:
                continue  # that is the head, which has none
            row = self._db.execute(SQL["latest_of_segment"], (seg, namespace, bound)).fetchone()
            if row is not None:
                return self._row(thread_id, found[1], Row._make(row), chain[: index + 1])
        return None

    async def get(self, thread_id: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
        found = self._find(thread_id, namespace, checkpoint_id)
        return None if found is None else self._row(thread_id, *found)

    def _find(self, thread_id: str, namespace: str, checkpoint_id: str) -> tuple[int, Row, Chain] | None:
        """Returns era, row, and the chain from the head to the row's segment, of a checkpoint that the thread sees."""
        for found in self._db.execute(_BY_ID, (thread_id, namespace, checkpoint_id)):
            if found[2] is None:
                return None
            if found[3] == found[0]:
                return found[1], Row._make(found[2:]), ((found[0], UNBOUNDED),)
            chain = self._chain(found[0])
            if depth(chain, found[3], found[2]) is not None:
                return found[1], Row._make(found[2:]), _showing(chain, self._views(chain), found[3], found[2])
        return None

    async def history(
        self,
        thread_id: str,
        *,
        namespace: str | None = None,
        checkpoint_id: str | None = None,
        before: str | None = None,
        limit: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        branch: bool = False,
    ) -> list[CheckpointRow]:
        head = self._head(thread_id)
        wanted = dict(metadata or {})
        if head is None or wanted.pop("thread_id", thread_id) != thread_id:
            return []
        chain = self._current(head[0]) if branch else self._chain(head[0])
        last = UNBOUNDED
        if before is not None and (places := self._places(chain, before)):
            before, last = None, places[0][0] - 1
        given = {
            "namespace = ?": namespace,
            "checkpoint_id = ?": checkpoint_id,
            "checkpoint_id < ?": before,
            "contains(meta, ?)": to_json(wanted) if wanted else None,
        }
        conditions = {condition: value for condition, value in given.items() if value is not None}
        index_name = (
            "checkpoints_id" if checkpoint_id is not None else "cks_pos" if namespace is None else "checkpoints_seg"
        )
        query = (
            f"SELECT pos FROM checkpoints INDEXED BY {index_name}"
            f" WHERE {' AND '.join(['seg = ?', 'pos <= ?', *conditions])} ORDER BY pos DESC"
        )
        found = (
            (pos, seg)
            for seg, bound in chain
            for (pos,) in self._db.execute(query, (seg, min(bound, last), *conditions.values()))
        )
        views = None if branch else self._views(chain)
        blobs: dict[int, Blob] = {}
        rows: list[CheckpointRow] = []
        for pos, seg in found:
            if limit is not None and len(rows) >= limit:
                break
            later, *columns = self._db.execute(_BY_POSITION, (pos,)).fetchone()
            row = Row._make(columns)
            if not later or self._places(chain, row.checkpoint_id, row.namespace)[0][0] == pos:
                rows.append(self._row(thread_id, head[1], row, _showing(chain, views, seg, pos), blobs))
        return rows

    async def thread_ids(self) -> list[str]:
        return [row[0] for row in self._db.execute(SQL["heads"])]

    def _places(self, chain: Chain, checkpoint_id: str, namespace: str | None = None) -> list[tuple[int, int]]:
        """Returns position and segment of each row of a checkpoint that a chain shows, newest first. `namespace` None: of any
        namespace.
        """
        return [
            (pos, seg)
            for pos, seg, where in self._db.execute(SQL["places_of_id"], (checkpoint_id,))
            if (namespace is None or where == namespace) and depth(chain, seg, pos) is not None
        ]

    async def path(
        self, thread_id: str, namespace: str, checkpoint_id: str, channels: Collection[str]
    ) -> list[CheckpointRow]:
        rows: list[CheckpointRow] = []
        missing = set(channels)
        found = self._find(thread_id, namespace, checkpoint_id)
        origin = None if found is None else found[2][0]
        while missing and found is not None and found[1].parent is not None:
            found = self._find(thread_id, namespace, found[1].parent)
            if found is None:
                break
            era, row, part = found
            if origin is not None and (len(part) > 1 or row.seg != origin[0]):
                shown = self._current(*origin)  # writes of other branches to an ancestor do not count
                place = depth(shown, row.seg, row.pos)
                if place is not None:  # else the checkpoint was put on another branch than its parent
                    part = shown[: place + 1]
            refs, small = orjson.loads(row.refs), orjson.loads(row.small)
            writes = [write for write in self._writes(part, row) if write.channel in missing]
            ends = missing.intersection(refs)
            rows.append(_made(thread_id, era, row, self._blobs({name: refs[name] for name in ends}), writes))
            missing -= ends
            missing.difference_update(small)
        return rows

    def _row(
        self, thread_id: str, era: int, row: Row, part: Chain, known: dict[int, Blob] | None = None
    ) -> CheckpointRow:
        """Returns a checkpoint in full. `known` caches the blobs that adjacent checkpoints share."""
        refs = orjson.loads(row.refs)
        return _made(thread_id, era, row, self._blobs(refs, known), self._writes(part, row), refs)

    def _blobs(self, refs: Mapping[str, int], known: dict[int, Blob] | None = None) -> dict[int, Blob]:
        if not refs:
            return {}
        wanted = list(refs.values())
        if known is None:
            known = {}
        else:
            wanted = [blob for blob in wanted if blob not in known]
        while wanted:
            part = wanted[:BLOBS]
            del wanted[:BLOBS]
            for row in self._db.execute(_BLOBS_SQL[len(part)], part):
                blob = known[row[0]] = Blob(*row)
                if blob.base is not None and blob.base not in known:
                    wanted.append(blob.base)
        return with_bases(refs.values(), known)

    def _writes(self, part: Chain, row: Row) -> list[PendingWrite]:
        """Returns the pending writes of a checkpoint in replay order. `part`: the chain from the head to the checkpoint's
        segment.
        """
        rows: list[tuple[Any, ...]] = []
        for seg, bound in reversed(part):  # positions are smaller in segments further up
            rows.extend(self._db.execute(_WRITES, (seg, row.checkpoint_id, row.namespace, bound)))
        if not rows:
            return []
        rows = pending.counting(rows)
        rows.sort(key=lambda row: (row[5], row[0], row[1]))
        return [PendingWrite(*row) for row in rows]

    async def steps(self, thread_id: str, upto: int, limit: int) -> Sequence[Step]:
        head = self._head(thread_id)
        found: list[Step] = []
        for seg, bound in () if head is None else self._chain(head[0]):
            if len(found) >= limit:
                break
            rows = self._db.execute(SQL["steps_of_segment"], (seg, min(bound, upto), limit - len(found)))
            found.extend(rows)
        return found

    async def digests(self, thread_id: str, *, before: str | None, limit: int) -> Sequence[Digests]:
        head = self._head(thread_id)
        if head is None:
            return []
        chain = self._chain(head[0])
        last = UNBOUNDED
        if before is not None:
            places = self._places(chain, before)
            last = places[0][0] - 1 if places else 0
        positions = (
            (pos, seg)
            for seg, bound in chain
            for (pos,) in self._db.execute(SQL["rows_of_segment"], (seg, min(bound, last)))
        )
        views = self._views(chain)
        found: list[Digests] = []
        for pos, seg in positions:
            if len(found) >= limit:
                break
            later, namespace, checkpoint_id, parent, recorded = self._db.execute(SQL["digests_at"], (pos,)).fetchone()
            if later and self._places(chain, checkpoint_id, namespace)[0][0] != pos:
                continue
            rows: list[tuple[Any, ...]] = []
            for part, bound in reversed(_showing(chain, views, seg, pos)):
                rows.extend(self._db.execute(SQL["write_digests"], (part, checkpoint_id, namespace, bound)))
            found.append(
                Digests(pos, namespace, checkpoint_id, parent, recorded or b"", pending.digests_in_order(rows))
            )
        return found

    async def view(self, thread_id: str) -> tuple[int, int, int] | None:
        found: tuple[int, int, int] | None = self._db.execute(SQL["view"], (thread_id,)).fetchone()
        return found

    async def root_checkpoints(self, thread_id: str, most: int, *, after: int = 0) -> list[RootCheckpoint]:
        found: list[Any] = []
        head = self._head(thread_id)
        for seg, bound in () if head is None else self._chain(head[0]):
            found += self._db.execute(SQL["roots_of_segment"], (seg, after, bound, most - len(found)))
            if len(found) >= most or after >= bound:
                break
        return root_checkpoints(found)

    async def exists(self, thread_id: str) -> bool:
        head = self._head(thread_id)
        return head is not None and any(self._true("has_checkpoint", link) for link in self._chain(head[0]))

    def _true(self, query: str, values: tuple[Any, ...]) -> bool:
        return bool(self._db.execute(SQL[query], values).fetchone()[0])

    async def threads_of_run(self, run_id: str) -> list[str]:
        return [row[0] for row in self._db.execute(SQL["threads_of_run"], (run_id,))]

    async def wrote(self, thread_id: str, run_id: str) -> bool:
        span = self._db.execute(SQL["span"], (run_id, thread_id)).fetchone()
        head = self._head(thread_id)
        if span is None or head is None:
            return False
        return any(self._true("run_wrote", (seg, span[0], bound, run_id)) for seg, bound in self._chain(head[0]))

    async def usage_of(self, chain: Chain) -> tuple[Sequence[int], Sequence[int], Sequence[ChannelUsage]]:
        values = (orjson.dumps(chain).decode(), floor(chain))
        checkpoints, writes = (
            self._db.execute(SQL[f"usage_{part}"], values).fetchone() for part in ("checkpoints", "writes")
        )
        return checkpoints, writes, self._db.execute(SQL["usage_channels"], values).fetchall()


def _showing(chain: Chain, views: Views | None, segment: int, position: int) -> Chain:
    """Returns what the newest branch shows that shows a row, from the head to the row's segment."""
    shown = chain if views is None else views.showing(position)
    return shown[: (depth(shown, segment, position) or 0) + 1]


def _made(
    thread_id: str,
    era: int,
    row: Row,
    blobs: dict[int, Blob],
    writes: list[PendingWrite],
    refs: dict[str, int] | None = None,
) -> CheckpointRow:
    return CheckpointRow(
        pos=row.pos,
        era=era,
        thread_id=thread_id,
        namespace=row.namespace,
        checkpoint_id=row.checkpoint_id,
        parent=row.parent,
        body_type=row.body_type,
        body=row.body,
        refs=orjson.loads(row.refs) if refs is None else refs,
        small=orjson.loads(row.small),
        blobs=blobs,
        meta=orjson.loads(row.meta),
        writes=writes,
    )
