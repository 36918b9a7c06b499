"""Storages for tests: open, empty, of each kind."""

import contextlib

from tests.encryptions import CIPHERS
from threadloom.storage.postgres import PostgresStorage
from threadloom.storage.sqlite import SqliteStorage

KINDS = ("sqlite", "postgres")

# Foreign keys do not hold for this session: each table can be emptied by itself, ten times faster than by TRUNCATE.
EMPTY = """
DO $$
DECLARE name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'threadloom' AND tablename <> 'migrations' LOOP
        EXECUTE format('DELETE FROM threadloom.%I', name);
    END LOOP;
END $$
"""


@contextlib.asynccontextmanager
async def opened(kind, request, folder, cipher="plain"):
    """A storage for the block. `request` is pytest's, for the database that the tests of a process share."""
    if kind == "sqlite":
        inner = SqliteStorage(folder)
    else:
        inner = PostgresStorage(request.getfixturevalue("postgres_uri"))
        await emptied(inner)
    storage = CIPHERS[cipher](inner)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def emptied(storage):
    """Takes everything out of a PostgreSQL database, which nobody uses."""
    await storage.open()
    try:
        await storage.database.write(lambda session: session.execute(EMPTY))
    finally:
        await storage.close()


def bare(storage):
    """The storage itself, without what lies around it (ciphers, counters)."""
    while hasattr(storage, "_inner"):
        storage = storage._inner
    return storage


def kind_of(storage):
    """Which of `KINDS` a storage is."""
    return "sqlite" if isinstance(bare(storage), SqliteStorage) else "postgres"


def rows_of(storage, query, *values):
    """What a query gives, as tuples. Its parameters are as the database spells them."""
    storage = bare(storage)
    if kind_of(storage) == "sqlite":
        return storage.database.read(lambda connection: connection.execute(query, values).fetchall())
    rows = storage.database.read_now(lambda session: session.fetch(query, *values), None)
    return [tuple(row) for row in rows]
