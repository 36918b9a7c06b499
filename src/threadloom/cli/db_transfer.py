"""`threadloom db migrate` and `db copy`: migrate the tables, and copy everything from one database to another."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli.options import add_config, add_verb
from threadloom.cli.progress import working
from threadloom.errors import ConfigError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs

PLACE = "sqlite:PATH (a data folder, or a file that `db backup` wrote) or postgresql://…"


def add(ways: "Verbs") -> None:
    migrating = add_verb(
        ways,
        "migrate",
        help="bring the tables of the data up to this release, and say what was done",
        example="threadloom db migrate -c langgraph.json",
    )
    add_config(migrating)
    migrating.add_argument(
        "--data", type=Path, metavar="DIR", help="the data folder (default: where the configuration says)"
    )
    migrating.set_defaults(run=run_migrate)

    copying = add_verb(
        ways,
        "copy",
        help="copy everything from one database to an empty one, all or nothing, and compare; no server may run",
        example="threadloom db copy --from sqlite:.threadloom --to postgresql://user:password@host/name",
    )
    copying.add_argument("--from", dest="source", required=True, metavar="PLACE", help=PLACE)
    copying.add_argument("--to", dest="target", required=True, metavar="PLACE", help=PLACE)
    copying.add_argument(
        "--live",
        action="store_true",
        help="servers may go on to use the PostgreSQL that is copied from; what they write meanwhile is left out",
    )
    copying.set_defaults(run=run_copy)


def run_migrate(given: argparse.Namespace) -> int:
    """Runs `db migrate`. Raises ConfigError, StartError (in use, of a newer release), StorageError."""
    from threadloom import maintenance
    from threadloom.config import load

    settings = load(given.config, os.environ, {"data": given.data})
    before, now = maintenance.bring_up_to_date(settings)
    if before == now:
        print(f"{settings.where} is up to date: schema {now}.")
    elif before == 0:
        print(f"{settings.where}: the tables were made, schema {now}.")
    else:
        print(f"{settings.where}: brought from schema {before} to {now}.")
    return 0


def run_copy(given: argparse.Namespace) -> int:
    """Runs `db copy`. Raises ConfigError (no such place), StartError (in use, another release), StorageError (not empty, not
    reached).
    """
    from threadloom import maintenance

    for option, place in (("--from", given.source), ("--to", given.target)):
        if not place.startswith(("sqlite:", "postgresql://", "postgres://")):
            raise ConfigError(f"{option} {place}: must be {PLACE}")
    with working("copying") as progress:
        rows = maintenance.copy_all(given.source, given.target, progress, live=given.live)
    for table, count in rows.items():
        if count:
            print(f"{table:<20} {count:>10}")
    print("Everything was copied, read again, and is the same.")
    return 0
