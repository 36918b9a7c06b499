"""All data of a storage in a form that all storages share, for moving it from one to another.

A row is a tuple of integers, numbers, texts, bytes and None, the same for every database. Rows keep all numbers that others refer
to (positions, segments, values, states), so copies still share what they shared before.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from threadloom.storage.rows import ASSISTANT, CRON, DELIVERY, EVENT, ITEM, OUTCOME, RUN, THREAD, Mapper

Row = tuple[Any, ...]


def _stored(mapper: Mapper[Any], *elsewhere: str) -> tuple[str, ...]:
    return tuple(name for name in mapper.names if name not in elsewhere)


TABLES: Mapping[str, tuple[str, ...]] = {
    "segments": ("id", "parent", "upto", "branch_at"),
    "heads": ("thread_id", "seg", "era"),
    "former_heads": ("number", "head", "thread_id", "checkpoint_id", "moved_at", "reason", "record"),
    "tags": ("thread_id", "name", "checkpoint_id", "created_at", "updated_at"),
    "checkpoints": (
        *("pos", "seg", "namespace", "checkpoint_id", "parent", "digests", "messages"),
        *("body_type", "body", "refs", "small", "meta"),
    ),
    "writes": (
        *("pos", "seg", "namespace", "checkpoint_id", "task_id", "idx"),
        *("channel", "digest", "type", "data", "path"),
    ),
    "blobs": ("id", "pos", "type", "base", "number", "size", "data"),
    "run_spans": ("run_id", "thread_id", "first"),
    "states": ("id", "values", "interrupts"),
    "threads": ("seq", *_stored(THREAD, "values", "interrupts"), "state_id"),
    "forks": ("child", "thread_id", "parent", "root", "root_id", "checkpoint_id", "at", "user_id"),
    "runs": (*RUN.names, "worker", "delayed_at"),
    "outcomes": (*OUTCOME.names, "expires_at"),
    "event_values": ("id", "base", "data"),
    "events": (*EVENT.names, "value", "size", "expires_at"),
    "floors": ("thread_id", "seq"),
    "assistants": ("seq", *ASSISTANT.names),
    "assistant_versions": _stored(ASSISTANT, "updated_at"),
    "crons": ("seq", *CRON.names, "ends_at"),
    "deliveries": ("seq", *DELIVERY.names),
    "items": ("id", *ITEM.names),
    "item_vectors": ("id", "item", "namespace", "dims", "expires_at", "vector"),
    "seals": ("name", "value"),
}
"""The tables and their columns. A table comes after those that its rows refer to.

`refs` and `small` of a checkpoint are JSON objects as texts; all other JSON documents are texts or bytes as they are stored.
`floors` are the numbers up to which v2 events may have been removed."""

BATCH = 1000
"""How many rows are processed at a time."""


class SequenceNumbers(msgspec.Struct, frozen=True):
    """The next position and the next fence that were never used."""

    position: int
    fence: int


class Summary:
    """The number of rows, and a digest of them that does not depend on their order."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += len(rows)
        for row in rows:
            digest = hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=16).digest()
            self._sum = (self._sum + int.from_bytes(digest, "big")) % 2**128

    @property
    def digest(self) -> str:
        return f"{self.rows}:{self._sum:032x}"


class Dump(Protocol):
    """A storage that is read as it is at one moment."""

    async def counts(self) -> Mapping[str, int]:
        """Returns how many rows each table has."""
        ...

    def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        """Yields all rows of a table in portions, in an order that `Fill` can take: a row comes after those that it
        refers to.
        """
        ...

    async def numbers(self) -> SequenceNumbers:
        """Returns the next position and fence, so that the target does not give out any of them again."""
        ...


class Fill(Protocol):
    """An empty storage that is filled, in one transaction."""

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """Adds rows to a table. They are not visible to others before the commit."""
        ...

    async def end(self, numbers: SequenceNumbers) -> None:
        """Completes counters, sequences and indexes after all rows were put."""
        ...

    def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        """Yields the rows of a table as they were stored, in portions, for comparison."""
        ...


class TransferMismatch(Exception):
    """The rows that were read back differ from those that were put."""


async def transfer(source: Dump, target: Fill, progress: Callable[[float], None]) -> Mapping[str, Summary]:
    """Copies all rows, reads them back, and compares.

    Args:
        progress: called with the part that is done, from 0 to 1.

    Returns:
        What was copied, by table.

    Raises:
        TransferMismatch: names the table.
    """
    counts = await source.counts()
    total = 2 * sum(counts.values()) or 1
    done = 0
    summaries: dict[str, Summary] = {}
    for table in TABLES:
        summary = summaries[table] = Summary()
        async for rows in source.rows(table):
            summary.add(rows)
            await target.put(table, rows)
            done += len(rows)
            progress(min(done / total, 1))
    await target.end(await source.numbers())
    for table, summary in summaries.items():
        again = Summary()
        async for rows in target.rows(table):
            again.add(rows)
            done += len(rows)
            progress(min(done / total, 1))
        if again.digest != summary.digest:
            raise TransferMismatch(f"table {table}: {summary.digest} was read, {again.digest} was written")
    progress(1)
    return summaries
