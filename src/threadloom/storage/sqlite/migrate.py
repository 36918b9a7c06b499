"""Numbered migrations: `migrations/NNNN_name.sql`, each applied once, in order, in a transaction of its own."""

import sqlite3
from collections.abc import Callable
from importlib import resources

from threadloom.errors import StartError


def migrations() -> dict[int, str]:
    """The text of each migration, by its number."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return {int(file.name[:4]): file.read_text(encoding="utf-8") for file in files}


def version(connection: sqlite3.Connection) -> int:
    """The number of the newest migration that the database has seen."""
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def migrate(connection: sqlite3.Connection, before: Callable[[sqlite3.Connection], None] | None = None) -> None:
    """Brings the database up to this release.

    Args:
        before: called when a database that has been in use is about to be changed.

    Raises:
        StartError: the database was written by a newer release.
    """
    known = migrations()
    current = version(connection)
    if current > max(known):
        raise StartError(
            f"The data was written by a newer release of Threadloom (schema {current}, this one knows {max(known)})."
        )
    if 0 < current < max(known) and before is not None:
        before(connection)
    for number, text in known.items():
        if number > current:
            connection.executescript(f"BEGIN IMMEDIATE;\n{text}\n;PRAGMA user_version = {number};\nCOMMIT;")
