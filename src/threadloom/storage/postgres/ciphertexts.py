"""Encrypted columns on PostgreSQL."""

from collections.abc import Sequence

import msgspec
import orjson

from threadloom.storage.ciphertexts import COLUMNS, KEYS, TYPES, UNTYPED, Column, Key, Stored, table_and_name
from threadloom.storage.items import decode, encode
from threadloom.storage.postgres.documents import searchable
from threadloom.storage.postgres.filters import Arguments
from threadloom.storage.postgres.items import INDEXED
from threadloom.storage.postgres.session import Session

BYTES: frozenset[Column] = frozenset(
    (
        *(
            "checkpoints.body",
            "checkpoints.metadata",
            "checkpoints.messages",
            "blobs.data",
            "checkpoints.digests",
            "writes.data",
            "writes.digest",
            "states.values",
            "states.interrupts",
        ),
        *("outcomes.output", "events.data", "event_values.data", "deliveries.body", "items.value"),
    )
)
"""Columns with bytes; the others have text."""

SEARCHED: frozenset[Column] = frozenset(
    ("threads.metadata", "assistants.metadata", "assistant_versions.metadata", "crons.metadata")
)
"""Columns that are stored a second time in a searchable form: see `documents`."""

_BEGINNINGS = tuple(f"substring({name} FROM 1 FOR {INDEXED})" for name in ("namespace", "key"))


class _PostgresColumn(msgspec.Struct, frozen=True, kw_only=True):
    """Where a column is stored.

    Attributes:
        source: the rows it is read from.
        key: the columns of their key.
        order: the part of the key that an index covers.
        type: the column with the serializer's type.
        text: whether it is text, not bytes.
        searched: whether it is stored a second time in a searchable form.
    """

    table: str
    source: str
    key: tuple[str, ...]
    order: tuple[str, ...]
    data: str
    type: str
    text: bool
    searched: bool


def _shape(column: Column) -> _PostgresColumn:
    table, name = table_and_name(column)
    states = table == "states"
    return _PostgresColumn(
        table=table,
        source="threads t JOIN states r ON r.id = t.state_id" if states else f"{table} r",
        key=("t.thread_id",) if states else KEYS[column.partition(".")[0]],
        order=_BEGINNINGS if table == "items" else (),
        data=f"r.{name}",
        type=TYPES.get(column, UNTYPED),
        text=column not in BYTES,
        searched=column in SEARCHED,
    )


SHAPES = {column: _shape(column) for column in COLUMNS}


class PostgresCiphertexts:
    """`Ciphertexts` of the storage protocol."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def get(self, column: Column, key: Key) -> Stored | None:
        shape = SHAPES[column]
        arguments = Arguments()
        held = "FOR NO KEY UPDATE OF r" if self._db.writes else ""
        row = await self._db.fetchrow(
            f"SELECT {shape.type}, {shape.data} FROM {shape.source}"
            f" WHERE {_found(column, key, arguments)} AND {shape.data} IS NOT NULL {held}",
            *arguments,
        )
        return None if row is None else Stored(key, row[0], _bytes(row[1]))

    async def put(self, column: Column, stored: Stored) -> None:
        shape = SHAPES[column]
        arguments = Arguments()
        name = shape.data.partition(".")[2]
        sets = [f"{name} = {arguments.put(stored.data.decode() if shape.text else stored.data)}"]
        if shape.type != UNTYPED:
            sets.append(f"{shape.type} = {arguments.put(stored.type)}")
        if shape.searched:
            sets.append(f"search = {arguments.json(searchable(orjson.loads(stored.data)))}")
        where = _found(column, stored.key, arguments)
        if shape.table == "states":
            where = f"id = (SELECT state_id FROM threads t WHERE {where})"
        await self._db.execute(f"UPDATE {shape.table} SET {', '.join(sets)} WHERE {where}", *arguments)

    async def page(self, column: Column, after: Key | None, limit: int) -> Sequence[Stored]:
        shape = SHAPES[column]
        arguments = Arguments()
        places = ", ".join((*shape.order, *shape.key))
        where = f"{shape.data} IS NOT NULL"
        if after is not None:
            inward = _inward(column, after)
            beginnings = [part[:INDEXED] for part in inward[: len(shape.order)]]
            wanted = ", ".join(arguments.put(part) for part in (*beginnings, *inward))
            where += f" AND ({places}) > ({wanted})"
        rows = await self._db.fetch(
            f"SELECT {', '.join(shape.key)}, {shape.type}, {shape.data} FROM {shape.source}"
            f" WHERE {where} ORDER BY {places} LIMIT {arguments.put(limit)}",
            *arguments,
        )
        return [Stored(_outward(column, tuple(row)[:-2]), row[-2], _bytes(row[-1])) for row in rows]

    async def note(self, name: str) -> str | None:
        value: str | None = await self._db.fetchval("SELECT value FROM seals WHERE name = $1", name)
        return value

    async def set_note(self, name: str, value: str | None) -> None:
        if value is None:
            await self._db.execute("DELETE FROM seals WHERE name = $1", name)
        else:
            upsert = "INSERT INTO seals (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2"
            await self._db.execute(upsert, name, value)


def _found(column: Column, key: Key, arguments: Arguments) -> str:
    """Returns the condition that a row has this key."""
    shape, inward = SHAPES[column], _inward(column, key)
    parts = [f"{name} = {arguments.put(part)}" for name, part in zip(shape.key, inward, strict=True)]
    parts += [f"{name} = {arguments.put(part[:INDEXED])}" for name, part in zip(shape.order, inward, strict=False)]
    return " AND ".join(parts)


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _inward(column: Column, key: Key) -> Key:
    """Returns a key as PostgreSQL stores it: namespaces and keys of items are bytes."""
    return (encode(key[0]), key[1].encode()) if column == "items.value" else key


def _outward(column: Column, key: Key) -> Key:
    return (decode(key[0]), key[1].decode()) if column == "items.value" else key
