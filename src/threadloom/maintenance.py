"""Maintenance of the data outside of a server: migrations, checks, re-encryption and copies, for the storage of the settings.

This module is separate from `wiring` because it needs nothing of a server: importing one would make the command line slow.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from threadloom.errors import StorageError
from threadloom.storage.sqlite import maintenance as sqlite
from threadloom.storage.sqlite.maintenance import (
    FILE,
    FolderLocked,
    apply_requests,
    backup,
    locked,
    request_restore,
    request_vacuum,
    requests,
)

if TYPE_CHECKING:
    from threadloom.config import Environment, Settings
    from threadloom.storage.base import Storage
    from threadloom.storage.transfer import Dump, Fill

__all__ = [
    "FILE",
    "CheckReport",
    "FolderLocked",
    "apply_requests",
    "backup",
    "bring_up_to_date",
    "check",
    "check_database",
    "copy_all",
    "locked",
    "rekey",
    "request_restore",
    "request_vacuum",
    "requests",
]


def rekey(settings: "Settings", progress: Callable[[float], None]) -> int:
    """Encrypts all content with the key of the settings. Returns how many fields changed.

    With an old key and no new one, the content is stored in clear. No server may use the data meanwhile.

    Raises:
        ConfigError: the content is encrypted with a key that is not given. Nothing was changed.
        StartError: another process uses the data.
        UndecipherableError: a field cannot be decrypted.
    """
    from threadloom.encryption import rekey as work
    from threadloom.encryption.keys import keys_of

    async def all_of_it() -> int:
        if settings.postgres_uri is not None:
            from threadloom.storage.postgres import maintenance

            await maintenance.refuse_servers(settings.postgres_uri)
        storage = _storage(settings)
        await storage.open()
        try:
            return await work.rekey(storage, keys_of(settings), progress)
        finally:
            await storage.close()

    return asyncio.run(all_of_it())


def _storage(settings: "Settings") -> "Storage":
    """Returns the storage without a cipher."""
    if settings.postgres_uri is not None:
        from threadloom.storage.postgres import PostgresStorage

        return PostgresStorage(settings.postgres_uri)
    from threadloom.storage.sqlite import SqliteStorage

    return SqliteStorage(settings.data)


def bring_up_to_date(settings: "Settings") -> tuple[int, int]:
    """Migrates the tables to the schema of this release. Returns the schema version before (0: there were no tables) and after.

    Raises:
        StorageError: the database cannot be reached, or rejects the migration.
        StartError: the schema is of a newer release, or the data folder is in use.
    """
    if settings.postgres_uri is not None:
        from threadloom.storage.postgres import maintenance

        return asyncio.run(maintenance.bring_up_to_date(settings.postgres_uri))
    from threadloom.storage.sqlite import SqliteStorage
    from threadloom.storage.sqlite.maintenance import examine

    file = settings.data / FILE
    before = examine(file) if file.exists() else 0

    async def open_once() -> None:
        storage = SqliteStorage(settings.data)
        await storage.open()
        await storage.close()

    asyncio.run(open_once())
    return before, examine(file)


class CheckReport(msgspec.Struct, frozen=True):
    """The result of a check: the faults, the number of faults of each kind, and what was not checked, with the reason."""

    faults: list[str]
    counts: dict[str, int]
    left_out: list[str]


def check(folder: Path, variables: "Environment", progress: Callable[[float], None]) -> CheckReport:
    """Checks a data folder for damage. A server may use it meanwhile.

    Args:
        variables: the environment variables that hold the keys of encrypted content.
        progress: called with the fraction of the encrypted content that was checked.

    Raises:
        StorageError: there is no database, or it cannot be read at all.
    """
    from threadloom.encryption.inspect import inspect
    from threadloom.encryption.keys import keys_in

    faults, counts = sqlite.check(folder)
    try:
        with sqlite.ciphertexts(folder) as ciphertexts:
            more, left_out = asyncio.run(inspect(ciphertexts, keys_in(variables), progress))
    except sqlite3.Error as error:
        more, left_out = [], [f"encrypted content: {error}"]
    return CheckReport([*faults, *more], counts, left_out)


def check_database(uri: str, variables: "Environment", progress: Callable[[float], None]) -> CheckReport:
    """Checks a PostgreSQL database for damage. Servers may use it meanwhile. The arguments are those of `check`.

    Raises:
        StorageError: the database cannot be reached, or has no tables of Threadloom.
        StartError: the schema is of another release.
    """
    from threadloom.encryption.inspect import inspect
    from threadloom.encryption.keys import keys_in
    from threadloom.storage.postgres import maintenance

    async def all_of_it() -> CheckReport:
        faults, counts = await maintenance.check(uri)
        async with maintenance.ciphertexts(uri) as ciphertexts:
            more, left_out = await inspect(ciphertexts, keys_in(variables), progress)
        return CheckReport([*faults, *more], counts, left_out)

    return asyncio.run(all_of_it())


def copy_all(source: str, target: str, progress: Callable[[float], None], *, live: bool = False) -> Mapping[str, int]:
    """Copies all data from one database to an empty one. Returns how many rows of each table were copied.

    The copied rows are read again and compared. If the copy fails, the target stays empty.

    Args:
        source: `sqlite:PATH` or `postgresql://…`, as is `target`.
        live: whether servers may use the source meanwhile, which must be PostgreSQL. What they write after the start is not
            copied.

    Raises:
        StorageError: a database cannot be reached or is damaged, the target is not empty, or a copied row differs.
        StartError: a database is in use, or of another release.
    """
    from threadloom.storage.transfer import TransferMismatch, transfer

    async def all_of_it() -> Mapping[str, int]:
        async with _dumping(source, live) as dump, _filling(target) as fill:
            copied = await transfer(dump, fill, progress)
            return {table: summary.rows for table, summary in copied.items()}

    try:
        return asyncio.run(all_of_it())
    except TransferMismatch as error:
        raise StorageError(f"what was written is not what was read, so nothing was kept: {error}") from error


@contextlib.asynccontextmanager
async def _dumping(place: str, live: bool) -> "AsyncIterator[Dump]":
    if place.startswith("sqlite:"):
        from threadloom.storage.sqlite import transfer

        with transfer.dumping(Path(place.removeprefix("sqlite:"))) as dump:
            yield dump
        return
    from threadloom.storage.postgres import maintenance
    from threadloom.storage.postgres import transfer as postgres

    if not live:
        await maintenance.refuse_servers(place)
    async with postgres.dumping(place) as dump:
        yield dump


@contextlib.asynccontextmanager
async def _filling(place: str) -> "AsyncIterator[Fill]":
    if place.startswith("sqlite:"):
        from threadloom.storage.sqlite import transfer

        with transfer.filling(Path(place.removeprefix("sqlite:"))) as fill:
            yield fill
        return
    from threadloom.storage.postgres import transfer as postgres

    async with postgres.filling(place) as fill:
        yield fill
