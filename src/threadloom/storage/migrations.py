"""Numbered migrations of a storage: `migrations/NNNN_name.sql` in its package. Each is applied once, in order.

Which ones were applied is in the table `migrations` of the database, each with its digest: a migration that has been applied is
never changed, only followed by another. How they are applied is each storage's own (`sqlite/migrate.py`, `postgres/migrate.py`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from threadloom.errors import StartError

_COMMENT = re.compile(r"--[^\n]*")


class Migration(NamedTuple):
    """`name` is the file's, without `.sql`; `text` what is to be run."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """By what a changed migration is known. Comments and white space do not count."""
        return hashlib.sha256(" ".join(_COMMENT.sub("", self.text).split()).encode()).hexdigest()


def read_migrations(package: str) -> Sequence[Migration]:
    """The migrations of a storage's package, in their order."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files]


def pending(known: Sequence[Migration], applied: Mapping[int, str], where: str) -> list[Migration]:
    """The migrations that are still to be applied to a database.

    Args:
        known: those of this release.
        applied: the digests of those that were applied to the database, by their numbers.
        where: the database in words, as the beginning of a sentence.

    Raises:
        StartError: the database was written by a newer release, or one of its migrations is not the one that is known here.
    """
    newest = max(applied, default=0)
    if newest > known[-1].number:
        raise StartError(
            f"{where} was written by a newer release of Threadloom (schema {newest}, this one knows {known[-1].number})."
        )
    for migration in known:
        if applied.get(migration.number, migration.digest) != migration.digest:
            raise StartError(
                f"{where} was written by another version of Threadloom than this one: its migration {migration.name} was a"
                " different one, as in a development version. It was left as it is. Use the version that wrote it."
            )
    return [migration for migration in known if migration.number > newest]


def development_version(where: str, deletion: str) -> StartError:
    """The error for a database from before the first release.

    Args:
        where: as of `pending`.
        deletion: how an operator deletes it, as the end of "To begin anew, …".
    """
    return StartError(
        f"{where} was written by a development version of Threadloom, before its first release, whose tables this release does"
        f" not know. It was left as it is. To begin anew, {deletion}. To keep its threads, start the version that wrote it and"
        " run `threadloom import --from-url` of this release against it."
    )
