"""Applies migrations (`storage.migrations`) and `functions.sql` to a PostgreSQL database, all in one transaction.

All processes of a deployment may start at the same moment. One applies them under a lock; the others wait, and then find nothing
to apply.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import asyncpg

from threadloom import __version__
from threadloom.storage.migrations import Migration, development_version, pending, read_migrations
from threadloom.storage.postgres.connections import SCHEMA

LOCK = 0x7468726561646C6F
"""Advisory lock of the migrating process."""

WHERE = f"The schema {SCHEMA} of the database"

TABLE = f"""
CREATE TABLE {SCHEMA}.migrations (
    name text PRIMARY KEY,
    number integer UNIQUE,                              -- NULL: of the functions, which are applied again and again
    digest text NOT NULL,
    release text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

THERE = f"""
SELECT to_regclass('{SCHEMA}.migrations') IS NOT NULL,
    EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('{SCHEMA}.migrations') AND attname = 'digest')
"""

APPLIED = f"SELECT number, digest, release FROM {SCHEMA}.migrations"

RECORD = f"""
INSERT INTO {SCHEMA}.migrations (name, number, digest, release) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, release = excluded.release, applied_at = excluded.applied_at
"""

FUNCTIONS = f"""
SELECT format('%I.%I(%s)', '{SCHEMA}', proname, pg_get_function_identity_arguments(oid)) AS signature, ctid::text AS row
FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace AND proname LIKE 'tl\\_%'
"""


class Applied(NamedTuple):
    """What was applied to a database: the digests of migrations by number, and digest and release of the functions."""

    migrations: Mapping[int, str]
    functions: tuple[str, str] | None


def migrations() -> Sequence[Migration]:
    """Returns the migrations of this storage, in order."""
    return read_migrations(__package__)


def functions() -> str:
    """Returns the text of `functions.sql`."""
    return resources.files(__package__).joinpath("functions.sql").read_text("utf-8")


async def applied(connection: Any) -> Applied:
    """Returns what was applied to a database.

    Raises:
        StartError: a development version from before the first release wrote it.
    """
    there, has_digests = await connection.fetchrow(THERE)
    if not there:
        return Applied({}, None)
    if not has_digests:
        raise development_version(WHERE, f"drop it (DROP SCHEMA {SCHEMA} CASCADE) or name another database")
    rows = await connection.fetch(APPLIED)
    found = {number: digest for number, digest, _ in rows if number is not None}
    return Applied(found, next(((digest, release) for number, digest, release in rows if number is None), None))


async def version(connection: Any) -> int:
    """Returns the number of the newest migration applied to the database, 0 before the first.

    Raises:
        StartError: the database was written by a newer release, or by a version that is no release.
    """
    found = await applied(connection)
    pending(migrations(), found.migrations, WHERE)
    return max(found.migrations, default=0)


async def migrate(connection: Any) -> None:
    """Migrates the database to this release.

    Raises:
        StartError: the database was written by a newer release, or by a version that is no release. It was not changed.
    """
    known, text = migrations(), functions()
    if _up_to_date(await applied(connection), known, text):
        return
    # The lock is taken before the transaction begins, because a transaction keeps the view of the catalog from its beginning.
    await connection.execute("SELECT set_config('lock_timeout', '0', false), pg_advisory_lock($1)", LOCK)
    try:
        async with connection.transaction():
            found = await applied(connection)
            if not _up_to_date(found, known, text):
                await _apply(connection, found, known, text)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
        await connection.execute("RESET lock_timeout")


def _up_to_date(found: Applied, known: Sequence[Migration], text: str) -> bool:
    return not pending(known, found.migrations, WHERE) and not _differ(found.functions, text)


def _differ(found: tuple[str, str] | None, text: str) -> bool:
    """Returns whether the functions are to be applied. Functions of a newer release stay, because its processes may be running
    and need them.
    """
    if found is None:
        return True
    digest, release = found
    return digest != _digest(text) and _numbers(release) <= _numbers(__version__)


async def _apply(connection: Any, found: Applied, known: Sequence[Migration], text: str) -> None:
    if not found.migrations:
        if await connection.fetchval("SELECT to_regnamespace($1)", SCHEMA) is None:
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(TABLE)
    for migration in pending(known, found.migrations, WHERE):
        await connection.execute(migration.text)
        await connection.execute(RECORD, migration.name, migration.number, migration.digest, __version__)
    if _differ(found.functions, text):
        await _replace_functions(connection, text)
        await connection.execute(RECORD, "functions", None, _digest(text), __version__)


async def _replace_functions(connection: Any, text: str) -> None:
    """Makes the functions of the database the same as those of a text.

    Functions are replaced where possible, not dropped and created. A statement that calls a function meanwhile then continues,
    while a dropped function would be missing for a statement that has just looked it up.
    """
    before = await connection.fetch(FUNCTIONS)
    try:
        async with connection.transaction():
            await connection.execute(text)
    except asyncpg.InvalidFunctionDefinitionError:  # its result or the names of its parameters changed
        await _drop(connection, [signature for signature, _ in before])
        await connection.execute(text)
        return
    # A replaced function is a new row of the catalog.
    after = {tuple(function) for function in await connection.fetch(FUNCTIONS)}
    await _drop(connection, [signature for signature, row in before if (signature, row) in after])


async def _drop(connection: Any, signatures: Sequence[str]) -> None:
    for signature in signatures:
        await connection.execute(f"DROP FUNCTION {signature}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])
