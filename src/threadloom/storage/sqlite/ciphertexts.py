"""Sealed columns on SQLite."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from threadloom.storage.ciphertexts import Column, Key, Stored
from threadloom.storage.items import decode, encode


class _Shape(msgspec.Struct, frozen=True):
    """Where a column is: the rows it is read from, their key, the column itself, that of its type, and how it is replaced."""

    source: str
    key: tuple[str, ...]
    data: str
    type: str = "''"
    target: str = ""


def _of(table: str, key: str, *columns: str, type: str = "''") -> dict[str, _Shape]:
    keys = tuple(key.split(", "))
    where = " AND ".join(f"{name} = ?" for name in keys)
    made = {}
    for column in columns:
        sets = f"{column} = CASE typeof({column}) WHEN 'text' THEN CAST(? AS TEXT) ELSE ? END"
        if type != "''":
            sets += f", {type} = ?"
        made[column] = _Shape(table, keys, column, type, f"UPDATE {table} SET {sets} WHERE {where}")
    return made


def _state(column: str) -> _Shape:
    """A column of `states`, found by any of the threads that show it."""
    return _Shape(
        "threads t JOIN states s ON s.id = t.state_id",
        ("t.thread_id",),
        f"s.{column}",
        target=f"UPDATE states SET {column} = CASE typeof({column}) WHEN 'text' THEN CAST(? AS TEXT) ELSE ? END"
        " WHERE id = (SELECT state_id FROM threads WHERE thread_id = ?)",
    )


_CKS = _of("cks", "pos", "body", type="btype") | _of("cks", "pos", "meta")
_BLOBS = _of("blobs", "id", "data", type="type")
_WRITES = _of("writes", "pos", "data", type="type")
_THREADS = _of("threads", "thread_id", "metadata", "config", "error")
_RUNS = _of("runs", "run_id", "metadata", "kwargs")
_OUTCOMES = _of("outcomes", "run_id", "output", "error", "metadata")
_EVENTS = _of("events", "thread_id, seq", "data")
_ASSISTANTS = _of("assistants", "assistant_id", "config", "context", "metadata")
_VERSIONS = _of("assistant_versions", "assistant_id, version", "config", "context", "metadata")
_CRONS = _of("crons", "cron_id", "payload", "metadata", "user", "last_error")
_ITEMS = _of("items", "ns, key", "value")

SHAPES: dict[Column, _Shape] = {
    "checkpoints.body": _CKS["body"],
    "checkpoints.metadata": _CKS["meta"],
    "blobs.data": _BLOBS["data"],
    "writes.data": _WRITES["data"],
    "states.values": _state('"values"'),
    "states.interrupts": _state("interrupts"),
    "threads.metadata": _THREADS["metadata"],
    "threads.config": _THREADS["config"],
    "threads.error": _THREADS["error"],
    "runs.metadata": _RUNS["metadata"],
    "runs.kwargs": _RUNS["kwargs"],
    "outcomes.output": _OUTCOMES["output"],
    "outcomes.error": _OUTCOMES["error"],
    "outcomes.metadata": _OUTCOMES["metadata"],
    "events.data": _EVENTS["data"],
    "deliveries.body": _of("deliveries", "delivery_id", "body")["body"],
    "assistants.config": _ASSISTANTS["config"],
    "assistants.context": _ASSISTANTS["context"],
    "assistants.metadata": _ASSISTANTS["metadata"],
    "assistant_versions.config": _VERSIONS["config"],
    "assistant_versions.context": _VERSIONS["context"],
    "assistant_versions.metadata": _VERSIONS["metadata"],
    "crons.payload": _CRONS["payload"],
    "crons.metadata": _CRONS["metadata"],
    "crons.user": _CRONS["user"],
    "crons.last_error": _CRONS["last_error"],
    "items.value": _ITEMS["value"],
}


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
        typed = () if shape.type == "''" else (stored.type,)
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
    """A key as SQLite has it: namespaces of items are bytes there."""
    return (encode(key[0]), *key[1:]) if column == "items.value" else key


def _outward(column: Column, key: Key) -> Key:
    return (decode(key[0]), *key[1:]) if column == "items.value" else key
