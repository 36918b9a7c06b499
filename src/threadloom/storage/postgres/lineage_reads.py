"""Reading histories on PostgreSQL: every statement sees only what the thread's chain shows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import orjson

from threadloom.codec import to_json
from threadloom.lineage import pending
from threadloom.lineage.branches import Views, counting_rows
from threadloom.lineage.segments import UNBOUNDED, Branches, Chain, floor
from threadloom.lineage.turns import RootCheckpoint
from threadloom.storage.lineage import Blob, CheckpointRow, Digests, PendingWrite, Step, root_checkpoints, with_bases
from threadloom.storage.lineage.protocol import ChannelUsage
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped, unescaped
from threadloom.storage.postgres.edges import PostgresEdges
from threadloom.storage.postgres.session import Session

SQL = load(__package__, "lineage.sql")

_COLUMNS = {"columns": SQL["columns"], "arrays": SQL["arrays"]}
_WHOLE = SQL["whole"].format(**_COLUMNS)
_LATEST = SQL["latest"].format(whole=_WHOLE, current=SQL["current"])
_BY_ID = SQL["by_id"].format(whole=_WHOLE)
_PATH = SQL["path"].format(**_COLUMNS)

# How a page of a history is found, by the spelling of the columns: along a namespace's positions, along all rows of a thread (see
# `migrations/0001_initial.sql`), or by an id alone, which few rows have.
_ALONG_ONE = {"seg": "seg", "pos": "pos + 0"}
_ALONG_ALL = {"seg": "seg + 0", "pos": "pos + 0"}
_BY_AN_ID = {"seg": "seg - 0", "pos": "pos - 0"}

Blobs = dict[int, Blob]


class PostgresLineageReads:
    """The reading half of `Lineage`.

    Args:
        session: a transaction or a snapshot.
        edges: the process's cache of edges.
    """

    def __init__(self, session: Session, edges: PostgresEdges) -> None:
        self._db = session
        self._edges = edges

    async def _head(self, thread_id: str) -> tuple[int, int] | None:
        """Returns the thread's head segment and its era."""
        head = await self._db.fetchrow(SQL["head"], thread_id)
        return None if head is None else (head[0], head[1])

    async def _chain(self, thread_id: str) -> tuple[Chain, Branches]:
        """Returns the chain of a thread, empty if it has no history, and its branches."""
        head = await self._head(thread_id)
        return ((), {}) if head is None else await self._edges.chain(self._db, head[0])

    async def latest(self, thread_id: str, namespace: str, *, at: int = UNBOUNDED) -> CheckpointRow | None:
        return _whole(thread_id, await self._db.fetchrow(_LATEST, thread_id, namespace, at))

    async def get(self, thread_id: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
        row = await self._db.fetchrow(_BY_ID, thread_id, namespace, checkpoint_id)
        counts = None
        if row is not None and row["branched"]:
            counts = counting_rows(Views(*await self._chain(thread_id)), row["pos"])
        return _whole(thread_id, row, counts)

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
        wanted = dict(metadata or {})
        if wanted.pop("thread_id", thread_id) != thread_id:
            return []
        values: list[Any] = [thread_id, limit, before]
        conditions = "" if before is None else " AND ((SELECT pos FROM place) IS NOT NULL OR checkpoint_id < $3)"
        for condition, value in (
            ("namespace = {}", namespace),
            ("checkpoint_id = {}", checkpoint_id),
            ("tl_document(meta) @> {}::jsonb", _searched(wanted) if wanted else None),
        ):
            if value is not None:
                values.append(value)
                conditions += f" AND {condition.format(f'${len(values)}')}"
        way = _BY_AN_ID if checkpoint_id is not None else _ALONG_ALL if namespace is None else _ALONG_ONE
        inherited = SQL["current"] if branch else "s.upto"
        query = SQL["history"].format(conditions=conditions, inherited=inherited, **way, **_COLUMNS)
        rows = await self._db.fetch(query, *values)
        counts: dict[int, Callable[[int], bool]] = {}
        if not branch and any(row["branched"] for row in rows):
            views = Views(*await self._chain(thread_id))
            counts = {row["pos"]: counting_rows(views, row["pos"]) for row in rows}
        blobs = await self._blobs({blob for row in rows for blob in row["blobs"]})
        return [_made(thread_id, row, row["era"], blobs, row["blobs"], counts.get(row["pos"])) for row in rows]

    async def thread_ids(self) -> list[str]:
        return [row[0] for row in await self._db.fetch(SQL["heads"])]

    async def _blobs(self, wanted: Collection[int]) -> Blobs:
        if not wanted:
            return {}
        return {row[0]: Blob(*row) for row in await self._db.fetch(SQL["blobs"], list(wanted))}

    async def path(
        self, thread_id: str, namespace: str, checkpoint_id: str, channels: Collection[str]
    ) -> list[CheckpointRow]:
        head = await self._head(thread_id)
        if head is None or not channels:
            return []
        chain, branches = await self._edges.chain(self._db, head[0])
        segments, bounds = columns(chain)
        rows = await self._db.fetch(
            _PATH, segments, bounds, namespace, checkpoint_id, [escaped(channel) for channel in channels]
        )
        ends = [
            [blob for channel, blob in zip(row["channels"], row["blobs"], strict=True) if channel in row["missing"]]
            for row in rows
        ]
        blobs = await self._blobs({blob for end in ends for blob in end})
        counts: dict[int, Callable[[int], bool]] = {}
        if branches and rows:
            place = await self._db.fetchval(SQL["place"], *columns(chain), namespace, checkpoint_id)
            views = Views(chain, branches)
            origin = views.showing(place)  # writes of other branches to an ancestor do not count
            counts = {row["pos"]: counting_rows(views, row["pos"], origin) for row in rows}
        return [
            _made(thread_id, row, head[1], blobs, end, counts.get(row["pos"]))
            for row, end in zip(rows, ends, strict=True)
        ]

    async def steps(self, thread_id: str, upto: int, limit: int) -> Sequence[Step]:
        return [(row[0], row[1], row[2]) for row in await self._db.fetch(SQL["steps"], thread_id, upto, limit)]

    async def digests(self, thread_id: str, *, before: str | None, limit: int) -> Sequence[Digests]:
        chain, branches = await self._chain(thread_id)
        views = Views(chain, branches) if branches else None
        found: list[Digests] = []
        for row in await self._db.fetch(SQL["digests"], thread_id, limit, before):
            pos, namespace, checkpoint_id, parent, recorded, places, tasks, idxs, written, paths = row
            writes = zip(
                map(unescaped, tasks or ()), idxs or (), written or (), map(unescaped, paths or ()), strict=True
            )
            counts = None if views is None else counting_rows(views, pos)
            visible = (one for place, one in zip(places or (), writes, strict=True) if counts is None or counts(place))
            ordered = pending.digests_in_order(visible)
            found.append(Digests(pos, namespace, checkpoint_id, parent, recorded or b"", ordered))
        return found

    async def view(self, thread_id: str) -> tuple[int, int, int] | None:
        found = await self._db.fetchrow(SQL["view"], thread_id)
        return None if found is None else (found[0], found[1], found[2])

    async def root_checkpoints(self, thread_id: str, most: int, *, after: int = 0) -> list[RootCheckpoint]:
        return root_checkpoints(await self._db.fetch(SQL["roots"], thread_id, most, after))

    async def exists(self, thread_id: str) -> bool:
        return bool(await self._db.fetchval(SQL["exists"], thread_id))

    async def threads_of_run(self, run_id: str) -> list[str]:
        return [row[0] for row in await self._db.fetch(SQL["threads_of_run"], run_id)]

    async def wrote(self, thread_id: str, run_id: str) -> bool:
        return bool(await self._db.fetchval(SQL["wrote"], thread_id, run_id))

    async def usage_of(self, chain: Chain) -> tuple[Sequence[int], Sequence[int], Sequence[ChannelUsage]]:
        values = (*columns(chain), floor(chain))
        checkpoints = await self._db.fetchrow(SQL["usage_checkpoints"], *values)
        writes = await self._db.fetchrow(SQL["usage_writes"], *values)
        return checkpoints, writes, await self._db.fetch(SQL["usage_channels"], *values)


def _searched(wanted: Mapping[str, Any]) -> str:
    """Returns the metadata of a filter in the spelling of `tl_document`."""
    text = to_json(wanted).decode()
    return text.replace("\\u0001", "\\u00011").replace("\\u0000", "\\u00010")


def columns(chain: Chain) -> tuple[list[int], list[int]]:
    """Returns a chain as two arrays: segments, bounds."""
    return [segment for segment, _ in chain], [bound for _, bound in chain]


def _whole(thread_id: str, row: Any, counts: Callable[[int], bool] | None = None) -> CheckpointRow | None:
    """Returns the checkpoint of a row that includes its blobs."""
    if row is None:
        return None
    blobs = {blob["id"]: Blob(*blob) for blob in row["needed_blobs"] or ()}
    return _made(thread_id, row, row["era"], blobs, row["blobs"], counts)


def _made(
    thread_id: str,
    row: Any,
    era: int,
    blobs: Blobs,
    wanted: Collection[int],
    counts: Callable[[int], bool] | None = None,
) -> CheckpointRow:
    """Returns the checkpoint of a row. `counts`: which pending writes count, by position; None: all."""
    return CheckpointRow(
        pos=row["pos"],
        era=era,
        thread_id=thread_id,
        namespace=row["namespace"],
        checkpoint_id=row["checkpoint_id"],
        parent=row["parent"],
        body_type=row["body_type"],
        body=row["body"],
        refs=dict(zip(map(unescaped, row["channels"]), row["blobs"], strict=True)),
        small=dict(zip(map(unescaped, row["small_channels"]), row["small_bytes"], strict=True)),
        blobs=with_bases(wanted, blobs),
        meta=orjson.loads(row["meta"]),
        writes=_writes(row, counts),
    )


def _writes(row: Any, counts: Callable[[int], bool] | None) -> list[PendingWrite]:
    """Returns the pending writes of a checkpoint in replay order."""
    if row["task_ids"] is None:
        return []
    tasks, channels, types, paths = (
        map(unescaped, row[name]) for name in ("task_ids", "write_channels", "write_types", "paths")
    )
    columns = (tasks, row["idxs"], channels, types, row["write_data"], paths, row["positions"])
    stored = list(zip(*columns, strict=True))
    writes = pending.counting(stored if counts is None else [write for write in stored if counts(write[6])])
    writes.sort(key=lambda write: (write[5], write[0], write[1]))
    return [PendingWrite(*write) for write in writes]
