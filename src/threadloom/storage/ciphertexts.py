"""Every column that may be encrypted, in its stored form, for reading and replacing.

The storage itself knows nothing of keys. It passes bytes, so that ciphertext under a new key can replace ciphertext under an old
one. This is the only change that immutable rows allow, because the content stays the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

import msgspec

from threadloom.storage.rows import quoted

Column = Literal[
    "checkpoints.body",
    "checkpoints.metadata",
    "checkpoints.digests",
    "checkpoints.messages",
    "blobs.data",
    "writes.data",
    "writes.digest",
    "states.values",
    "states.interrupts",
    "threads.metadata",
    "threads.config",
    "threads.error",
    "former_heads.record",
    "runs.metadata",
    "runs.kwargs",
    "outcomes.output",
    "outcomes.error",
    "outcomes.metadata",
    "events.data",
    "event_values.data",
    "deliveries.body",
    "assistants.config",
    "assistants.context",
    "assistants.metadata",
    "assistant_versions.config",
    "assistant_versions.context",
    "assistant_versions.metadata",
    "crons.payload",
    "crons.metadata",
    "crons.user",
    "crons.last_error",
    "items.value",
]

COLUMNS: tuple[Column, ...] = get_args(Column)

KEYS: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("pos",),
    "blobs": ("id",),
    "writes": ("pos",),
    "states": ("thread_id",),
    "threads": ("thread_id",),
    "former_heads": ("head",),
    "runs": ("run_id",),
    "outcomes": ("run_id",),
    "events": ("thread_id", "seq"),
    "event_values": ("id",),
    "deliveries": ("delivery_id",),
    "assistants": ("assistant_id",),
    "assistant_versions": ("assistant_id", "version"),
    "crons": ("cron_id",),
    "items": ("namespace", "key"),
}
"""The key columns of each table. A row of `states` has as its key any of the threads that show it."""

STORED_AS: Mapping[Column, tuple[str, str]] = {
    "checkpoints.body": ("checkpoints", "body"),
    "checkpoints.metadata": ("checkpoints", "meta"),
}
"""Table and column, where they differ from the name of the `Column`."""

TYPES: Mapping[Column, str] = {"checkpoints.body": "body_type", "blobs.data": "type", "writes.data": "type"}
"""The column that holds the serializer's type."""

UNTYPED = "''"
"""The SQL for the type of a column that has no type."""

Key = tuple[Any, ...]
"""The key of a row: the position of a checkpoint or a pending write, the id of a blob, (thread, seq) of an event, the id of
an event's value, the thread of a
state, (assistant, version), (namespace, key) of an item, otherwise the id of the record."""


class Stored(msgspec.Struct, frozen=True):
    """The stored content of a column of one row. `type` is the serializer's type of a part of a checkpoint, `""` for JSON."""

    key: Key
    type: str
    data: bytes


def table_and_name(column: Column) -> tuple[str, str]:
    """Returns the table and the quoted column name of a column, for SQL."""
    table, name = STORED_AS.get(column) or column.split(".")
    return table, quoted(name)


class Ciphertexts(Protocol):
    """Columns in their stored form, and notes on how they are encrypted."""

    async def get(self, column: Column, key: Key) -> Stored | None:
        """Returns one column of one row as it is stored, and in a writing transaction locks the row until that ends;
        None when the row is gone or the column is empty.
        """
        ...

    async def put(self, column: Column, stored: Stored) -> None:
        """Replaces what is stored in one column of a row. Does nothing if the row is gone. No other column changes."""
        ...

    async def page(self, column: Column, after: Key | None, limit: int) -> Sequence[Stored]:
        """Returns at most `limit` values of a column in the order of their keys, beginning after `after` (None: at the
        first). Rows in which the column is empty are left out.
        """
        ...

    async def note(self, name: str) -> str | None:
        """Returns the note of that name, or None."""
        ...

    async def set_note(self, name: str, value: str | None) -> None:
        """Stores a note under a name; None removes it."""
        ...
