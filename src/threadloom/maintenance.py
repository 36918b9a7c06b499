"""What can be done to the data beside a server: the storage's own means, chosen here as `wiring` chooses it for serving.

Apart from `wiring` because it needs nothing of a server, and a command line that waits for one to be imported is slow.
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
    """Seals all content anew with the key of the settings, and gives how many places changed. Without a key, but with an old
    one, all is left in clear. No server may use the data meanwhile.

    Raises:
        ConfigError: the content is sealed with a key that is not given. Nothing was changed.
        StartError: somebody uses the data.
        UndecipherableError: something cannot be opened.
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
    """The storage as it is, without a cipher around it."""
    if settings.postgres_uri is not None:
        from threadloom.storage.postgres import PostgresStorage

        return PostgresStorage(settings.postgres_uri)
    from threadloom.storage.sqlite import SqliteStorage

    return SqliteStorage(settings.data)


def bring_up_to_date(settings: "Settings") -> tuple[int, int]:
    """Brings the tables to this release, and gives the schema before (0: there were none) and now.

    Raises:
        StorageError: the database cannot be reached, or refuses.
        StartError: it is of a newer release, or the data folder is in use.
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
    """What was found: faults, how many there are of each kind, and what was not looked into, with the reason."""

    faults: list[str]
    counts: dict[str, int]
    left_out: list[str]


def check(folder: Path, variables: "Environment", progress: Callable[[float], None]) -> CheckReport:
    """Looks for damage in a data folder, whether or not somebody serves it.

    Args:
        variables: where keys of encrypted content are.
        progress: is told which part of the encrypted content was looked at.

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
    """Looks for damage in a PostgreSQL database, whoever uses it. Arguments as of `check`.

    Raises:
        StorageError: the database cannot be reached, or holds nothing of ours.
        StartError: it is of another release.
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
    """Copies everything from one place to an empty one, and gives how many rows of each table. All is there in the end, read
    again and compared, or nothing.

    Args:
        source: `sqlite:PATH` or `postgresql://…`, as is `target`.
        live: whether servers may go on to use a PostgreSQL that is copied from; what they write meanwhile is left out.

    Raises:
        StorageError: a database cannot be reached or is damaged, the target is not empty, or what was read again differs.
        StartError: one is in use, or of another release.
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
