"""Reading everything from a PostgreSQL database, and filling an empty one. See `storage.transfer`."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson

from threadloom.codec import to_json
from threadloom.errors import StartError, StorageError
from threadloom.storage.postgres import BLOB_RANGE
from threadloom.storage.postgres.connections import connected, escaped, explained, unescaped
from threadloom.storage.postgres.documents import searchable
from threadloom.storage.postgres.items import key_of
from threadloom.storage.postgres.migrate import migrate, migrations, version
from threadloom.storage.postgres.runs import task_of
from threadloom.storage.postgres.segments import AT_ONCE, CUTS
from threadloom.storage.transfer import BATCH, TABLES, Row, SequenceNumbers

NEXT = "SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM {}"

READ = {
    "checkpoints": (
        "pos, seg, namespace, checkpoint_id, parent, digests, messages, body_type, body, channels, blobs, "
        "small_channels, small_bytes, meta"
    ),
    "floors": "thread_id, floor",
}
"""SQL of columns that a dump reads in another form."""

FROM = {"floors": "event_logs WHERE floor > 0", "segments": "segments ORDER BY id"}
"""The source of rows, where it is not just the table of that name. Parents of segments were created before their children."""

DERIVED: Mapping[str, tuple[str, ...]] = {
    "threads": ("search",),
    "runs": ("task_id", "temporary"),
    "floors": ("floor",),
    "assistants": ("folded", "search"),
    "assistant_versions": ("search",),
    "crons": ("search",),
    "items": ("place",),
}
"""Columns that are derived from others, in the order in which `_derived` returns them."""

LOGS = """
INSERT INTO event_logs AS l (thread_id, seq, ms, n)
SELECT DISTINCT ON (thread_id) thread_id, seq, ms, n FROM events ORDER BY thread_id, seq DESC
ON CONFLICT (thread_id) DO UPDATE SET seq = greatest(l.seq, excluded.seq), ms = excluded.ms, n = excluded.n
"""

READY = "SELECT tl_ready(thread_id) FROM (SELECT DISTINCT thread_id FROM runs WHERE status = 'pending') waiting"

OWN_ASSISTANTS = """
WITH own AS (
    DELETE FROM assistants a WHERE search @> '{"created_by":"system"}' AND version = 1
        AND NOT EXISTS (SELECT 1 FROM assistant_versions v WHERE v.assistant_id = a.assistant_id AND v.version > 1)
    RETURNING assistant_id
)
DELETE FROM assistant_versions v USING own WHERE v.assistant_id = own.assistant_id
"""
"""Deletes what a server creates when it only starts."""

IDENTITIES = (
    ("threads", "seq"),
    ("runs", "seq"),
    ("assistants", "seq"),
    ("crons", "seq"),
    ("deliveries", "seq"),
    ("states", "id"),
    ("items", "id"),
    ("item_vectors", "id"),
)


class PostgresDump:
    """A database as it is at one moment. See `storage.transfer.Dump`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def counts(self) -> Mapping[str, int]:
        return {
            table: await self._connection.fetchval(
                f"SELECT count(*) FROM {FROM.get(table, table).partition(' ORDER')[0]}"
            )
            for table in TABLES
        }

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        columns = READ.get(table) or ", ".join(f'"{column}"' for column in TABLES[table])
        cursor = await self._connection.cursor(f"SELECT {columns} FROM {FROM.get(table, table)}")
        shape = _SHAPES.get(table, tuple)
        while rows := await cursor.fetch(BATCH):
            yield [shape(row) for row in rows]

    async def numbers(self) -> SequenceNumbers:
        fetch = self._connection.fetchval
        return SequenceNumbers(await fetch(NEXT.format("positions")), await fetch(NEXT.format("fences")))


class PostgresFill(PostgresDump):
    """An empty database. See `storage.transfer.Fill`."""

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        if table == "floors":
            name, columns = "event_logs", ["thread_id", "seq", "floor"]
        elif table == "checkpoints":
            name, columns = table, READ["checkpoints"].split(", ")
        else:
            name, columns = table, [*TABLES[table], *DERIVED.get(table, ())]
        stored = [_STORED[table](row) for row in rows] if table in _STORED else rows
        await self._connection.copy_records_to_table(name, columns=columns, records=stored)

    async def end(self, numbers: SequenceNumbers) -> None:
        execute = self._connection.execute
        await execute(LOGS)
        await execute(READY)
        await execute(
            "SELECT setval('positions', $1, false), setval('fences', $2, false)", numbers.position, numbers.fence
        )
        for table, column in IDENTITIES:
            last = f"(SELECT max({column}) FROM {table})"
            await execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce({last}, 1), {last} IS NOT NULL)"
            )
        lowest, highest = await self._connection.fetchrow(
            "SELECT least(min(id), 0), greatest(max(id), (SELECT max(id) FROM event_values), 0) FROM blobs"
        )
        await execute("SELECT setval('blob_ranges', $1)", max(highest, 0) // BLOB_RANGE + 1)
        await execute("SELECT setval('blob_copies', $1, false)", min(lowest, 0) - 1)


# --- conversions between rows here and rows of the transfer ---


def _checkpoint(row: Sequence[Any]) -> Row:
    *before, channels, blobs, small_channels, small_bytes, meta = row
    pairs = ((channels, blobs), (small_channels, small_bytes))
    refs, small = (to_json(dict(zip(map(unescaped, names), numbers, strict=True))).decode() for names, numbers in pairs)
    return (*before, refs, small, meta.decode())


def _flagged(table: str, column: str) -> Callable[[Sequence[Any]], Row]:
    place = TABLES[table].index(column)

    def shape(row: Sequence[Any]) -> Row:
        return (*row[:place], int(row[place]), *row[place + 1 :])

    return shape


def _item(row: Sequence[Any]) -> Row:
    return (*row[:2], row[2].decode(), *row[3:])


_SHAPES: Mapping[str, Callable[[Sequence[Any]], Row]] = {
    "checkpoints": _checkpoint,
    "events": _flagged("events", "last"),
    "crons": _flagged("crons", "enabled"),
    "items": _item,
}


def _stored_checkpoint(row: Row) -> Row:
    *before, refs, small, meta = row
    refs, small = orjson.loads(refs), orjson.loads(small)
    names = ([escaped(name) for name in channels] for channels in (refs, small))
    return (*before, next(names), list(refs.values()), next(names), list(small.values()), meta.encode())


def _searchable(table: str, *flags: str) -> Callable[[Row], Row]:
    metadata = TABLES[table].index("metadata")
    places = [TABLES[table].index(flag) for flag in flags]

    def stored(row: Row) -> Row:
        fields = [bool(value) if place in places else value for place, value in enumerate(row)]
        return (*fields, searchable(orjson.loads(row[metadata])))

    return stored


def _stored_run(row: Row) -> Row:
    metadata, kwargs = (orjson.loads(row[TABLES["runs"].index(name)]) for name in ("metadata", "kwargs"))
    return (*row, task_of(metadata), bool(kwargs.get("temporary")))


def _stored_assistant(row: Row) -> Row:
    *fields, search = _searchable("assistants")(row)
    return (*fields, row[TABLES["assistants"].index("name")].casefold(), search)


def _stored_event(row: Row) -> Row:
    place = TABLES["events"].index("last")
    return (*row[:place], bool(row[place]), *row[place + 1 :])


def _stored_item(row: Row) -> Row:
    return (*row[:2], row[2].encode(), *row[3:], key_of(row[1], row[2]))


_STORED: Mapping[str, Callable[[Row], Row]] = {
    "checkpoints": _stored_checkpoint,
    "threads": _searchable("threads"),
    "runs": _stored_run,
    "events": _stored_event,
    "floors": lambda row: (*row, row[1]),
    "assistants": _stored_assistant,
    "assistant_versions": _searchable("assistant_versions"),
    "crons": _searchable("crons", "enabled"),
    "items": _stored_item,
}


# --- opening ---


@contextlib.asynccontextmanager
async def dumping(uri: str) -> AsyncIterator[PostgresDump]:
    """Provides all data of a database as it is now, even while others write.

    Raises:
        StorageError: the database cannot be reached, or has no tables of the server.
        StartError: a newer or an older release wrote it.
    """
    async with explained(), connected(uri) as connection:
        await _check(connection)
        # Deleted rows that are not freed yet would never be freed in the target.
        while await connection.fetchval(CUTS["collect_dead"], AT_ONCE):
            pass
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield PostgresDump(connection)


@contextlib.asynccontextmanager
async def filling(uri: str) -> AsyncIterator[PostgresFill]:
    """Provides an empty database. All rows are committed when the block ends without an error. Other writers wait.

    Raises:
        StorageError: the database cannot be reached, or is not empty.
        StartError: a newer release wrote it.
    """
    async with explained(), connected(uri) as connection:
        await migrate(connection)
        async with connection.transaction():
            await connection.execute(
                "LOCK TABLE segments, heads, threads, runs, assistants, crons, items, deliveries IN EXCLUSIVE MODE"
            )
            await connection.execute(OWN_ASSISTANTS)
            counts = await PostgresDump(connection).counts()
            held = [f"{count} {table}" for table, count in counts.items() if count]
            if held:
                raise StorageError(
                    f"the database holds {', '.join(held)}: everything is only copied to where nothing is."
                )
            yield PostgresFill(connection)
        await connection.execute("ANALYZE")


async def _check(connection: Any) -> None:
    found, newest = await version(connection), migrations()[-1].number
    if found == 0:
        raise StorageError("the database holds nothing of Threadloom's")
    if found < newest:
        raise StartError(
            f"The database has schema {found}, and this release {newest}: bring it up to date first (db migrate)."
        )
