"""Reading everything from an SQLite file, and filling a new one. See `storage.transfer`."""

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

from threadloom.errors import StartError, StorageError
from threadloom.storage.sqlite.maintenance import FILE, examine, locked
from threadloom.storage.sqlite.migrate import migrate, migrations
from threadloom.storage.transfer import BATCH, TABLES, Row, SequenceNumbers

NAMES = {"floors": "event_floors"}
"""Tables that have another name on SQLite."""

TEXTS = {
    "metadata",
    "kwargs",
    "config",
    "error",
    "record",
    "refs",
    "small",
    "meta",
    "tries",
    "context",
    "payload",
    "key",
    "user",
}
"""Columns with texts that may be stored as bytes."""

NEXT_POSITION = """
SELECT max(
    (SELECT coalesce(max(next), 1) FROM positions),
    (SELECT coalesce(max(pos), 0) + 1 FROM checkpoints),
    (SELECT coalesce(max(pos), 0) + 1 FROM writes),
    (SELECT coalesce(max(id), 0) + 1 FROM segments),
    (SELECT coalesce(max(upto), 0) + 1 FROM segments),
    (SELECT coalesce(max(era), 0) + 1 FROM heads),
    (SELECT coalesce(max(first), 0) + 1 FROM run_spans)
)
"""

READY = """
UPDATE runs SET ready = 1
WHERE seq IN (SELECT min(seq) FROM runs WHERE status = 'pending' AND delayed_at IS NULL GROUP BY thread_id)
  AND thread_id NOT IN (SELECT thread_id FROM runs WHERE status = 'running')
"""


class SqliteDump:
    """A file as it is at one moment. See `storage.transfer.Dump`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def counts(self) -> Mapping[str, int]:
        return {
            table: self._connection.execute(f"SELECT count(*) FROM {NAMES.get(table, table)}").fetchone()[0]
            for table in TABLES
        }

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        for rows in _rows(self._connection, table):
            yield rows

    async def numbers(self) -> SequenceNumbers:
        position = self._connection.execute(NEXT_POSITION).fetchone()[0]
        return SequenceNumbers(position, self._connection.execute("SELECT next FROM fences").fetchone()[0])


class SqliteFill:
    """A new file. See `storage.transfer.Fill`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        columns = ", ".join(f'"{column}"' for column in TABLES[table])
        places = ", ".join("nullif(?, '')" if (table, name) == ("runs", "user_id") else "?" for name in TABLES[table])
        self._connection.executemany(f"INSERT INTO {NAMES.get(table, table)} ({columns}) VALUES ({places})", rows)

    async def end(self, numbers: SequenceNumbers) -> None:
        self._connection.execute("UPDATE positions SET next = ?", (numbers.position,))
        self._connection.execute("UPDATE fences SET next = ?", (numbers.fence,))
        self._connection.execute(READY)

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        for rows in _rows(self._connection, table):
            yield rows


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[Sequence[Row]]:
    columns = ", ".join(_read(table, column) for column in TABLES[table])
    # Parents of segments were created before their children.
    order = "ORDER BY id" if table == "segments" else ""
    cursor = connection.execute(f"SELECT {columns} FROM {NAMES.get(table, table)} {order}")
    while rows := cursor.fetchmany(BATCH):
        yield rows


def _read(table: str, column: str) -> str:
    if (table, column) == ("runs", "user_id"):
        return "coalesce(user_id, '')"
    return f'CAST("{column}" AS TEXT)' if column in TEXTS else f'"{column}"'


@contextlib.contextmanager
def dumping(place: Path) -> Iterator[SqliteDump]:
    """Provides all data of a data folder that no server uses, or of a backup.

    Raises:
        FolderLocked: a server uses the folder.
        StorageError: there is no database of the server, or it is damaged.
        StartError: a newer or an older release wrote it.
    """
    with contextlib.ExitStack() as stack:
        if place.is_dir():
            stack.enter_context(locked(place))
        file = place / FILE if place.is_dir() else place
        found, newest = examine(file), migrations()[-1].number
        if found < newest:
            raise StartError(
                f"{file} has schema {found}, and this release {newest}: bring it up to date first (db migrate)."
            )
        connection = stack.enter_context(contextlib.closing(sqlite3.connect(file, isolation_level=None)))
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        yield SqliteDump(connection)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[SqliteFill]:
    """Provides a new database in a data folder. It appears there when the block ends without an error.

    Raises:
        FolderLocked: a server uses the folder.
        StorageError: there is a database already, or it cannot be written.
    """
    with locked(folder):
        file = folder / FILE
        if file.exists():
            raise StorageError(f"{file} is there already: everything is only copied to where nothing is.")
        part = file.with_name(FILE + ".part")
        part.unlink(missing_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as connection:
                migrate(connection)
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("BEGIN IMMEDIATE")
                yield SqliteFill(connection)
                connection.execute("COMMIT")
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(file)
        except sqlite3.Error as error:
            raise StorageError(f"{file} cannot be written: {error}") from error
        finally:
            part.unlink(missing_ok=True)
