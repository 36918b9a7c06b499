"""Sealed columns on PostgreSQL."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from threadloom.storage.ciphertexts import Column, Key, Stored
from threadloom.storage.items import decode, encode
from threadloom.storage.postgres.documents import searchable
from threadloom.storage.postgres.filters import Arguments
from threadloom.storage.postgres.items import INDEXED
from threadloom.storage.postgres.session import Session

UNTYPED = "''"
"""What stands for the type of what has none."""


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Where a column is.

    `source` are the rows it is read from, `key` what they are found by, `order` what an index has of that; `lock` the table
    whose rows are held. `type` is the column of its type. It is `text`, or bytes; what is `searched` stands there twice.
    """

    table: str
    source: str
    key: tuple[str, ...]
    order: tuple[str, ...] = ()
    data: str
    lock: str
    type: str = UNTYPED
    text: bool = True
    searched: bool = False


def _of(table: str, key: str, *columns: str, **more: Any) -> dict[str, _Shape]:
    keys = tuple(key.split(", "))
    return {
        name: _Shape(table=table, source=f"{table} r", key=keys, data=f"r.{name}", lock="r", **more) for name in columns
    }


def _state(column: str) -> _Shape:
    """A column of `states`, found by any of the threads that show it."""
    return _Shape(
        table="states",
        source="threads t JOIN states s ON s.id = t.state_id",
        key=("t.thread_id",),
        data=f"s.{column}",
        lock="s",
        text=False,
    )


_CKS = _of("cks", "pos", "body", type="btype", text=False) | _of("cks", "pos", "meta", text=False)
_THREADS = _of("threads", "thread_id", "config", "error") | _of("threads", "thread_id", "metadata", searched=True)
_RUNS = _of("runs", "run_id", "metadata", "kwargs")
_OUTCOMES = _of("outcomes", "run_id", "error", "metadata") | _of("outcomes", "run_id", "output", text=False)
_ASSISTANTS = _of("assistants", "assistant_id", "config", "context") | _of(
    "assistants", "assistant_id", "metadata", searched=True
)
_VERSIONS = _of("assistant_versions", "assistant_id, version", "config", "context") | _of(
    "assistant_versions", "assistant_id, version", "metadata", searched=True
)
_CRONS = _of("crons", "cron_id", "payload", '"user"', "last_error") | _of("crons", "cron_id", "metadata", searched=True)
_BEGINNINGS = tuple(f"substring({name} FROM 1 FOR {INDEXED})" for name in ("ns", "key"))

SHAPES: dict[Column, _Shape] = {
    "checkpoints.body": _CKS["body"],
    "checkpoints.metadata": _CKS["meta"],
    "blobs.data": _of("blobs", "id", "data", type="type", text=False)["data"],
    "writes.data": _of("writes", "pos", "data", type="type", text=False)["data"],
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
    "events.data": _of("events", "thread_id, seq", "data", text=False)["data"],
    "deliveries.body": _of("deliveries", "delivery_id", "body", text=False)["body"],
    "assistants.config": _ASSISTANTS["config"],
    "assistants.context": _ASSISTANTS["context"],
    "assistants.metadata": _ASSISTANTS["metadata"],
    "assistant_versions.config": _VERSIONS["config"],
    "assistant_versions.context": _VERSIONS["context"],
    "assistant_versions.metadata": _VERSIONS["metadata"],
    "crons.payload": _CRONS["payload"],
    "crons.metadata": _CRONS["metadata"],
    "crons.user": _CRONS['"user"'],
    "crons.last_error": _CRONS["last_error"],
    "items.value": _of("items", "ns, key", "value", order=_BEGINNINGS, text=False)["value"],
}


class PostgresCiphertexts:
    """`Ciphertexts` of the storage protocol."""

    def __init__(self, session: Session) -> None:
        self._db = session

    async def get(self, column: Column, key: Key) -> Stored | None:
        shape = SHAPES[column]
        arguments = Arguments()
        held = f"FOR NO KEY UPDATE OF {shape.lock}" if self._db.writes else ""
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
    """The condition that a row is the one with this key."""
    shape, inward = SHAPES[column], _inward(column, key)
    parts = [f"{name} = {arguments.put(part)}" for name, part in zip(shape.key, inward, strict=True)]
    parts += [f"{name} = {arguments.put(part[:INDEXED])}" for name, part in zip(shape.order, inward, strict=False)]
    return " AND ".join(parts)


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _inward(column: Column, key: Key) -> Key:
    """A key as PostgreSQL has it: namespaces and keys of items are bytes there."""
    return (encode(key[0]), key[1].encode()) if column == "items.value" else key


def _outward(column: Column, key: Key) -> Key:
    return (decode(key[0]), key[1].decode()) if column == "items.value" else key
