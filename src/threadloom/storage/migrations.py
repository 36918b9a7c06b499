"""Numbered migrations of a storage: `migrations/NNNN_name.sql` in its package. Each is applied once, in order.

The table `migrations` of the database lists the applied ones with their digests. A migration that has been applied is never
changed; a further change is a new migration. Each storage applies them in its own way (`sqlite/migrate.py`,
`postgres/migrate.py`).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from threadloom.errors import StartError

_COMMENT = re.compile(r"--[^\n]*")


class Migration(NamedTuple):
    """A migration. `name` is the file name without `.sql`; `text` is the SQL to run."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """Returns the digest by which a changed migration is detected. Comments and white space have no effect on it."""
        return hashlib.sha256(" ".join(_COMMENT.sub("", self.text).split()).encode()).hexdigest()


def read_migrations(package: str) -> Sequence[Migration]:
    """Returns the migrations of a storage's package, in order."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(int(file.name[:4]), file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files]


def pending(known: Sequence[Migration], applied: Mapping[int, str], where: str) -> list[Migration]:
    """Returns the migrations that are still to be applied to a database.

    Args:
        known: the migrations of this release.
        applied: the digests of the migrations applied to the database, by number.
        where: the database in words, as the beginning of a sentence.

    Raises:
        StartError: a newer release wrote the database, or an applied migration differs from the one of this release.
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
    """Returns the error for a database that was written before the first release.

    Args:
        where: as in `pending`.
        deletion: how an operator deletes it, as the end of "To begin anew, …".
    """
    return StartError(
        f"{where} was written by a development version of Threadloom, before its first release, whose tables this release does"
        f" not know. It was left as it is. To begin anew, {deletion}. To keep its threads, start the version that wrote it and"
        " run `threadloom import --from-url` of this release against it."
    )
