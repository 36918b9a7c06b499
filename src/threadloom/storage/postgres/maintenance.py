"""Maintenance of a PostgreSQL database: migrations, checks. Backups are made with the database's own tools."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from threadloom.errors import StartError, StorageError
from threadloom.storage.named import load
from threadloom.storage.postgres.ciphertexts import PostgresCiphertexts
from threadloom.storage.postgres.connections import SERVER, connected, explained
from threadloom.storage.postgres.migrate import migrate, migrations, version
from threadloom.storage.postgres.session import SNAPSHOT, Session

SQL = load(__package__, "maintenance.sql") | load("threadloom.storage", "maintenance.sql")

SERVERS = """
SELECT count(*), string_agg(DISTINCT coalesce(host(client_addr), 'this machine'), ', ')
FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
"""

LOOKS, PAUSE_SECONDS = 20, 0.25
"""How often, and with what pause, a check for connections of servers is repeated that were just stopped."""


async def refuse_servers(uri: str) -> None:
    """Checks that no server is connected.

    Raises:
        StartError: servers are connected to the database.
        StorageError: the database cannot be reached.
    """
    async with explained(), connected(uri) as connection:
        for look in range(LOOKS):
            count, hosts = await connection.fetchrow(SERVERS, SERVER)
            if not count:
                return
            if look < LOOKS - 1:
                await asyncio.sleep(PAUSE_SECONDS)
    raise StartError(f"Servers are connected to the database ({count} connections, from {hosts}): stop them first.")


async def bring_up_to_date(uri: str) -> tuple[int, int]:
    """Migrates the tables to this release. Returns the schema version before (0: no tables) and after.

    Raises:
        StorageError: the database cannot be reached, or refuses.
        StartError: a newer release wrote it.
    """
    async with explained(), connected(uri) as connection:
        before = await version(connection)
        await migrate(connection)
        return before, await version(connection)


async def check(uri: str) -> tuple[list[str], dict[str, int]]:
    """Looks for damage, even while servers use the database. Returns descriptions of the damage, and the number of records of
    each kind.

    Raises:
        StorageError: the database cannot be reached, or has no tables of the server.
        StartError: another release wrote it.
    """
    async with explained(), connected(uri) as connection:
        found, newest = await version(connection), migrations()[-1].number
        if found == 0:
            raise StorageError("the database holds nothing of Threadloom's")
        if found < newest:
            raise StartError(f"The database has schema {found}, and this release {newest}.")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            counted = {name: await connection.fetchval(query) for name, query in SQL.items()}
    faults = [
        f"{count} {_words(name, 'lost_')}" for name, count in counted.items() if name.startswith("lost_") and count
    ]
    counts = {_words(name, "count_"): count for name, count in counted.items() if name.startswith("count_")}
    return faults, {"schema": found, **counts}


@contextlib.asynccontextmanager
async def ciphertexts(uri: str) -> AsyncIterator[PostgresCiphertexts]:
    """Provides read-only access to the encrypted columns on one snapshot, even while servers use the database.

    Raises:
        StorageError: the database cannot be reached.
    """
    async with explained(), connected(uri) as connection:
        yield PostgresCiphertexts(Session(connection, SNAPSHOT))


def _words(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).replace("_", " ")
