"""Care of a PostgreSQL database: bringing it up to date, looking for damage. Backups are the database's own affair."""

from threadloom.errors import StartError, StorageError
from threadloom.storage.named import load
from threadloom.storage.postgres.connections import connected, explained
from threadloom.storage.postgres.migrate import migrate, migrations, version

SQL = load(__package__, "care.sql")


async def bring_up_to_date(uri: str) -> tuple[int, int]:
    """Brings the tables to this release, and gives the schema before (0: there were none) and now.

    Raises:
        StorageError: the database cannot be reached, or refuses.
        StartError: it is of a newer release.
    """
    async with explained(), connected(uri) as connection:
        before = await version(connection)
        await migrate(connection)
        return before, await version(connection)


async def check(uri: str) -> tuple[list[str], dict[str, int]]:
    """Looks for damage, whoever uses the database: what is wrong, and how many there are of each kind.

    Raises:
        StorageError: the database cannot be reached, or holds nothing of ours.
        StartError: it is of another release.
    """
    async with explained(), connected(uri) as connection:
        found, newest = await version(connection), max(migrations())
        if found == 0:
            raise StorageError("the database holds nothing of Threadloom's")
        if found != newest:
            raise StartError(f"The database has schema {found}, and this release {newest}.")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            counted = {name: await connection.fetchval(query) for name, query in SQL.items()}
    faults = [
        f"{count} {_words(name, 'lost_')}" for name, count in counted.items() if name.startswith("lost_") and count
    ]
    counts = {_words(name, "count_"): count for name, count in counted.items() if name.startswith("count_")}
    return faults, {"schema": found, **counts}


def _words(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).replace("_", " ")
