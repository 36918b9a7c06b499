"""Applies migrations (`storage.migrations`) to an SQLite file: all that are pending in one transaction."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence

from threadloom import __version__
from threadloom.storage.migrations import Migration, development_version, pending, read_migrations

FIRST = {"threads", "runs", "outcomes"}
"""Tables that every version of the server has had. A database with them and without a table `migrations` is from before the first
release."""

TABLE = """
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    release TEXT NOT NULL,
    applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""

TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"

APPLIED = "SELECT number, digest FROM migrations"

RECORD = "INSERT INTO migrations (number, name, digest, release) VALUES (?, ?, ?, ?)"


def migrations() -> Sequence[Migration]:
    """Returns the migrations of this storage, in order."""
    return read_migrations(__package__)


def applied(connection: sqlite3.Connection) -> Mapping[int, str]:
    """Returns the digests of the migrations applied to a database, by number. Empty for an empty database, or another
    application's.

    Raises:
        StartError: a development version from before the first release wrote it.
        sqlite3.Error: it cannot be read.
    """
    tables = {name for (name,) in connection.execute(TABLES)}
    if not tables >= FIRST:
        return {}
    if "migrations" not in tables:
        raise development_version(_where(connection), "delete the file or name another data folder")
    return dict(connection.execute(APPLIED))


def version(connection: sqlite3.Connection) -> int:
    """Returns the number of the newest migration applied to the database, 0 before the first. Raises as `applied`."""
    return max(applied(connection), default=0)


def migrate(connection: sqlite3.Connection, before: Callable[[sqlite3.Connection], None] | None = None) -> None:
    """Migrates the database to this release.

    Args:
        before: called when a database that has been in use is about to be changed.

    Raises:
        StartError: the database was written by a newer release, or by a version that is no release.
        sqlite3.Error: the database cannot be changed. Nothing was changed.
    """
    known, where = migrations(), _where(connection)
    found = applied(connection)
    if not pending(known, found, where):
        return
    if found and before is not None:
        before(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated since.
        found = applied(connection)
        if not found:
            connection.execute(TABLE)
        for migration in pending(known, found, where):
            for statement in _statements(migration.text):
                connection.execute(statement)
            connection.execute(RECORD, (migration.number, migration.name, migration.digest, __version__))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _where(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def _statements(text: str) -> Iterator[str]:
    """Yields the statements of a script. (`executescript` would commit before the first.)"""
    statement = ""
    for part in text.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement:  # the last line is a comment
        yield statement
