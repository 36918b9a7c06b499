"""Encrypted columns on SQLite."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from threadloom.storage.ciphertexts import COLUMNS, KEYS, TYPES, UNTYPED, Column, Key, Stored, table_and_name
from threadloom.storage.items import decode, encode


class _SqliteColumn(msgspec.Struct, frozen=True):
    """Where a column is stored: its rows, their key, the column, the replacement statement, and the column with the serializer's
    type.
    """

    source: str
    key: tuple[str, ...]
    data: str
    target: str
    type: str = UNTYPED


def _shape(column: Column) -> _SqliteColumn:
    table, name = table_and_name(column)
    key = KEYS[column.partition(".")[0]]
    type_ = TYPES.get(column, UNTYPED)
    sets = f"{name} = CASE typeof({name}) WHEN 'text' THEN CAST(? AS TEXT) ELSE ? END"
    if table == "states":
        source, key, data = "threads t JOIN states s ON s.id = t.state_id", ("t.thread_id",), f"s.{name}"
        return _SqliteColumn(
            source, key, data, f"UPDATE states SET {sets} WHERE id = (SELECT state_id FROM threads WHERE thread_id = ?)"
        )
    if type_ != UNTYPED:
        sets += f", {type_} = ?"
    where = " AND ".join(f"{part} = ?" for part in key)
    return _SqliteColumn(table, key, name, f"UPDATE {table} SET {sets} WHERE {where}", type_)


SHAPES = {column: _shape(column) for column in COLUMNS}


class SqliteCiphertexts:
    """`Ciphertexts` of the storage protocol."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    async def get(self, column: Column, key: Key) -> Stored | None:
        shape = SHAPES[column]
        where = " AND ".join(f"{name} = ?" for name in shape.key)
        query = f"SELECT {shape.type}, {shape.data} FROM {shape.source} WHERE {where} AND {shape.data} IS NOT NULL"
        row = self._db.execute(query, _inward(column, key)).fetchone()
        return None if row is None else Stored(key, row[0], _bytes(row[1]))

    async def put(self, column: Column, stored: Stored) -> None:
        shape = SHAPES[column]
        typed = () if shape.type == UNTYPED else (stored.type,)
        self._db.execute(shape.target, (stored.data, stored.data, *typed, *_inward(column, stored.key)))

    async def page(self, column: Column, after: Key | None, limit: int) -> Sequence[Stored]:
        shape = SHAPES[column]
        names = ", ".join(shape.key)
        query = f"SELECT {names}, {shape.type}, {shape.data} FROM {shape.source} WHERE {shape.data} IS NOT NULL"
        values: tuple[Any, ...] = ()
        if after is not None:
            query += f" AND ({names}) > ({', '.join('?' * len(shape.key))})"
            values = _inward(column, after)
        rows = self._db.execute(f"{query} ORDER BY {names} LIMIT ?", (*values, limit))
        return [Stored(_outward(column, tuple(row[:-2])), row[-2], _bytes(row[-1])) for row in rows]

    async def note(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM seals WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    async def set_note(self, name: str, value: str | None) -> None:
        if value is None:
            self._db.execute("DELETE FROM seals WHERE name = ?", (name,))
        else:
            self._db.execute("INSERT OR REPLACE INTO seals (name, value) VALUES (?, ?)", (name, value))


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _inward(column: Column, key: Key) -> Key:
    """Returns a key as SQLite stores it: namespaces of items are bytes."""
    return (encode(key[0]), *key[1:]) if column == "items.value" else key


def _outward(column: Column, key: Key) -> Key:
    return (decode(key[0]), *key[1:]) if column == "items.value" else key
