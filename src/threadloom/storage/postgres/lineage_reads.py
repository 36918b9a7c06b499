"""Reading histories on PostgreSQL: every statement sees only what the thread's chain shows."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from threadloom.codec import to_json
from threadloom.lineage import pending
from threadloom.lineage.segments import Chain, floor
from threadloom.lineage.turns import RootCheckpoint
from threadloom.storage.lineage import Blob, CheckpointRow, PendingWrite, root_checkpoints, with_bases
from threadloom.storage.lineage.protocol import ChannelUsage
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import escaped, unescaped
from threadloom.storage.postgres.edges import PostgresEdges
from threadloom.storage.postgres.session import Session

SQL = load(__package__, "lineage.sql")

_COLUMNS = {"columns": SQL["columns"], "arrays": SQL["arrays"]}
_WHOLE = SQL["whole"].format(**_COLUMNS)
_LATEST = SQL["latest"].format(whole=_WHOLE)
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

    async def latest(self, thread_id: str, namespace: str) -> CheckpointRow | None:
        return _whole(thread_id, await self._db.fetchrow(_LATEST, thread_id, namespace))

    async def get(self, thread_id: str, namespace: str, checkpoint_id: str) -> CheckpointRow | None:
        return _whole(thread_id, await self._db.fetchrow(_BY_ID, thread_id, namespace, checkpoint_id))

    async def history(
        self,
        thread_id: str,
        *,
        namespace: str | None = None,
        checkpoint_id: str | None = None,
        before: str | None = None,
        limit: int | None = None,
        metadata: Mapping[str, Any] | None = None,
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
        rows = await self._db.fetch(SQL["history"].format(conditions=conditions, **way, **_COLUMNS), *values)
        blobs = await self._blobs({blob for row in rows for blob in row["blobs"]})
        return [_made(thread_id, row, row["era"], blobs, row["blobs"]) for row in rows]

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
        segments, bounds = columns(await self._edges.chain(self._db, head[0]))
        rows = await self._db.fetch(
            _PATH, segments, bounds, namespace, checkpoint_id, [escaped(channel) for channel in channels]
        )
        ends = [
            [blob for channel, blob in zip(row["channels"], row["blobs"], strict=True) if channel in row["missing"]]
            for row in rows
        ]
        blobs = await self._blobs({blob for end in ends for blob in end})
        return [_made(thread_id, row, head[1], blobs, end) for row, end in zip(rows, ends, strict=True)]

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


def _whole(thread_id: str, row: Any) -> CheckpointRow | None:
    """Returns the checkpoint of a row that includes its blobs."""
    if row is None:
        return None
    blobs = {blob["id"]: Blob(*blob) for blob in row["needed_blobs"] or ()}
    return _made(thread_id, row, row["era"], blobs, row["blobs"])


def _made(thread_id: str, row: Any, era: int, blobs: Blobs, wanted: Collection[int]) -> CheckpointRow:
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
        writes=_writes(row),
    )


def _writes(row: Any) -> list[PendingWrite]:
    """Returns the pending writes of a checkpoint in replay order."""
    if row["task_ids"] is None:
        return []
    tasks, channels, types, paths = (
        map(unescaped, row[name]) for name in ("task_ids", "write_channels", "write_types", "paths")
    )
    columns = (tasks, row["idxs"], channels, types, row["write_data"], paths, row["positions"])
    writes = pending.counting(list(zip(*columns, strict=True)))
    writes.sort(key=lambda write: (write[5], write[0], write[1]))
    return [PendingWrite(*write) for write in writes]
