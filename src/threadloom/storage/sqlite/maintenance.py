"""Maintenance of the data folder: backup, restore, vacuum, check, a copy before a migration.

The server holds the folder's lock. Tasks that can only be done without a server are left as requests in the folder (`restore.db`,
`vacuum`). The next process that takes the lock carries them out with `apply_requests` before it opens the database. Each step can
be interrupted and continued.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from threadloom.errors import StartError, StorageError
from threadloom.storage.migrations import pending
from threadloom.storage.named import load
from threadloom.storage.sqlite.ciphertexts import SqliteCiphertexts
from threadloom.storage.sqlite.database import PAGE_BYTES
from threadloom.storage.sqlite.migrate import applied, migrations, version

log = logging.getLogger("threadloom.storage")

FILE = "threadloom.db"
LOCK = "lock"
RESTORE = "restore.db"
VACUUM = "vacuum"

PAGES = 4096
"""How many pages are copied at once; progress is reported after each such step."""

SQL = load(__package__, "maintenance.sql") | load("threadloom.storage", "maintenance.sql")

Progress = Callable[[float], None]
"""Called with the part of an operation that is done, from 0 to 1."""


def silent(part: float) -> None:
    """Reports no progress."""


# --- the lock ---


class FolderLocked(StartError):
    """The folder is in use. `process` is the holder's process id, None when it is unknown."""

    def __init__(self, folder: Path, process: int | None) -> None:
        super().__init__(f"The data folder {folder} is in use by another process (id {process or 'unknown'}).")
        self.process = process


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock within the block.

    Raises:
        FolderLocked: another process holds it.
        StartError: the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise StartError(f"The data folder {folder} cannot be used: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            raise FolderLocked(folder, int(holder) if holder.isdigit() else None) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


# --- copies ---


def backup(folder: Path, target: Path, progress: Progress = silent) -> None:
    """Copies the database as it is at this moment, even while a server uses it. `target` is created complete or not at all.

    Raises:
        StorageError: there is no database, or the copy cannot be written.
        StartError: a development version wrote the database.
    """
    source = folder / FILE
    if not source.is_file():
        raise StorageError(f"There is no {FILE} in {folder}")
    _refuse_development(source)
    _copy(source, target, progress)


def set_aside(connection: sqlite3.Connection, path: Path) -> Path:
    """Copies the database before it is migrated; an older copy of the same schema is replaced. Returns the path of the copy.

    Raises:
        StorageError: the copy cannot be written.
    """
    found = version(connection)
    target = path.with_name(f"{path.name}.schema-{found}")
    _copy(path, target, silent)
    log.warning(
        "the database is brought from schema %d to %d; a copy was set aside: %s", found, migrations()[-1].number, target
    )
    return target


def _copy(source: Path, target: Path, progress: Progress) -> None:
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with _opened(source) as old, contextlib.closing(sqlite3.connect(part, isolation_level=None)) as new:
            # One snapshot from beginning to end. Without it, every commit of a server would restart the copy.
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_master").fetchone()
            old.backup(new, pages=PAGES, progress=lambda _, left, total: progress(1 - left / max(total, 1)))
            new.execute("PRAGMA journal_mode = DELETE")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)
    except (sqlite3.Error, OSError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(f"{source} cannot be copied to {target}: {error}") from error


# --- requests for the next process that takes the lock ---


def request_restore(folder: Path, source: Path, progress: Progress = silent) -> None:
    """Stores a backup in the folder, for the next start to replace the database with it.

    Raises:
        StorageError: the backup is not a complete database of the server.
        StartError: a newer release, or a development version, wrote it.
    """
    examine(source)
    folder.mkdir(parents=True, exist_ok=True)
    _copy(source, folder / RESTORE, progress)


def request_vacuum(folder: Path) -> None:
    """Requests a vacuum of the database.

    Raises:
        StartError: a development version wrote the database.
    """
    _refuse_development(folder / FILE)
    (folder / VACUUM).touch()


def requests(folder: Path) -> list[str]:
    """Returns the requests that are not carried out yet."""
    return [name for name in (RESTORE, VACUUM) if (folder / name).exists()]


def apply_requests(folder: Path) -> None:
    """Carries out the requests. Only for a process that holds the lock and has not opened the database.

    Raises:
        StorageError: a backup cannot be put in place. The old database is at its place, or in a file next to it.
    """
    if (folder / RESTORE).exists():
        try:
            _put_in_place(folder)
        except OSError as error:
            raise StorageError(f"{folder / RESTORE} cannot be put in place: {error}") from error
    if (folder / VACUUM).exists():
        try:
            vacuum(folder / FILE)
        except sqlite3.Error as error:
            log.error("the database was not made smaller: %s", error)
        (folder / VACUUM).unlink()


def _put_in_place(folder: Path) -> None:
    restored, current = folder / RESTORE, folder / FILE
    # Named after the request, so that the name is the same if this step is repeated.
    moment = datetime.fromtimestamp(restored.stat().st_mtime, UTC).strftime("%Y%m%d-%H%M%S")
    aside = folder / f"{FILE}.replaced-{moment}"
    if current.exists():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(current)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # The log, and the journal of a killed vacuum, come first: if they were left, SQLite would take them for those of the new
    # database.
    for suffix in ("-wal", "-shm", "-journal", ""):
        if (folder / (FILE + suffix)).exists():
            (folder / (FILE + suffix)).replace(folder / (aside.name + suffix))
    restored.replace(current)
    log.warning("a backup was put in place; the database that was there before is %s", aside)


def vacuum(path: Path) -> None:
    """Rewrites the database without the free space of deleted rows, with the page size of new databases. Needs that much disk
    space once more meanwhile.

    Raises:
        sqlite3.Error: the disk is full, or the database is in use.
    """
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # with a write-ahead log the page size cannot change
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("VACUUM")


# --- checks ---


def examine(path: Path) -> int:
    """Returns the schema version of a database file of the server.

    Raises:
        StorageError: the file cannot be read, is damaged, or is no database of the server.
        StartError: a newer release, or a development version, wrote it.
    """
    if not path.is_file():
        raise StorageError(f"There is no file {path}")
    try:
        with _opened(path) as connection:
            found = applied(connection)
            sound = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    except sqlite3.Error as error:
        raise StorageError(f"{path} is no SQLite database that can be read: {error}") from error
    if not found:
        raise StorageError(f"{path} is no database of Threadloom's")
    if sound != ["ok"]:
        raise StorageError(f"{path} is damaged: {sound[0]}")
    pending(migrations(), found, str(path))
    return max(found)


def recognise(path: Path) -> None:
    """Checks, before a file is opened for writing, that it is a database that this server may use. A missing or empty file
    passes.

    Raises:
        StorageError: it is damaged, no database, or another application's. It was not changed.
        StartError: a development version wrote it. It was not changed.
    """
    try:
        if not path.exists() or (path.is_file() and not path.stat().st_size):
            return
        with _opened(path) as connection:
            used = connection.execute(SQL["is_used"]).fetchone()[0]
            ours = version(connection) > 0
    except (sqlite3.Error, OSError) as error:
        raise StorageError(
            f"{path} cannot be used: {error}. It was left as it is; `threadloom db restore` puts a backup in its place."
        ) from error
    if used and not ours:
        raise StorageError(
            f"{path} is a database of another application. It was left as it is; name another data folder."
        )


def check(folder: Path) -> tuple[list[str], dict[str, int]]:
    """Looks for damage, even while a server uses the folder. Returns descriptions of the damage, and the number of records of
    each kind.

    Raises:
        StorageError: there is no database, or it cannot be read at all.
        StartError: a newer release, or a development version, wrote it.
    """
    path = folder / FILE
    if not path.is_file():
        raise StorageError(f"There is no {FILE} in {folder}")
    try:
        with _opened(path) as connection:
            connection.execute("BEGIN")
            found = applied(connection)
            pending(migrations(), found, str(path))
            faults = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                faults.append(f"{table}: row {row} refers to a row of {parent} that is not there")
            faults += [f"{lost} {kind}" for kind, lost in _counted(connection, "lost_") if lost]
            counts = {"schema": max(found, default=0), **dict(_counted(connection, "count_"))}
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    return faults, counts


@contextlib.contextmanager
def ciphertexts(folder: Path) -> Iterator[SqliteCiphertexts]:
    """Provides read-only access to the encrypted columns on one snapshot, even while a server uses the folder.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with _opened(folder / FILE) as connection:
        connection.execute("BEGIN")
        yield SqliteCiphertexts(connection)


def _counted(connection: sqlite3.Connection, prefix: str) -> Iterator[tuple[str, int]]:
    """Yields the results of the counting queries. A query of a table that an older release did not have yields nothing."""
    for name, query in SQL.items():
        if name.startswith(prefix):
            with contextlib.suppress(sqlite3.OperationalError):
                yield name.removeprefix(prefix).replace("_", " "), connection.execute(query).fetchone()[0]


def _refuse_development(path: Path) -> None:
    """Raises StartError for a database of a development version. Does nothing if the file cannot be read; the caller's own read
    then fails.
    """
    with contextlib.suppress(sqlite3.Error), _opened(path) as connection:
        applied(connection)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a connection for reading. (Not in read-only mode: a database with a log needs its index file.)"""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA query_only = ON")
        yield connection
