"""Numbered migrations: `migrations/NNNN_name.sql`, each applied once, in order.

Every process of a deployment may start at the same moment: one applies, under a lock and in one transaction, and the others
wait and then find nothing to do.
"""

from importlib import resources
from typing import Any

from threadloom.errors import StartError
from threadloom.storage.postgres.connections import SCHEMA

LOCK = 0x7468726561646C6F
"""Advisory lock of who migrates."""

TABLE = f"{SCHEMA}.migrations"


def migrations() -> dict[int, str]:
    """The text of each migration, by its number."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return {int(file.name[:4]): file.read_text(encoding="utf-8") for file in files}


async def version(connection: Any) -> int:
    """The number of the newest migration that the database has seen, 0 before the first."""
    if await connection.fetchval("SELECT to_regclass($1)", TABLE) is None:
        return 0
    number: int = await connection.fetchval(f"SELECT coalesce(max(number), 0) FROM {TABLE}")
    return number


async def migrate(connection: Any) -> None:
    """Brings the database up to this release.

    Raises:
        StartError: the database was written by a newer release.
    """
    known = migrations()
    if await _seen(connection, known) == max(known):
        return
    # The lock is taken before the transaction begins: one that has begun goes on with what it knew of the catalog.
    await connection.execute("SELECT set_config('lock_timeout', '0', false), pg_advisory_lock($1)", LOCK)
    try:
        async with connection.transaction():
            await _apply(connection, known, await _seen(connection, known))
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
        await connection.execute("RESET lock_timeout")


async def _apply(connection: Any, known: dict[int, str], current: int) -> None:
    if current == 0:
        if await connection.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None:
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(
            f"CREATE TABLE {TABLE} (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    for number, text in known.items():
        if number > current:
            await connection.execute(text)
            await connection.execute(f"INSERT INTO {TABLE} (number) VALUES ($1)", number)


async def _seen(connection: Any, known: dict[int, str]) -> int:
    current = await version(connection)
    if current > max(known):
        raise StartError(
            f"The data was written by a newer release of Threadloom (schema {current}, this one knows {max(known)})."
        )
    return current
