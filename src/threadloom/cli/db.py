"""`threadloom db`: backs up, restores, checks and compacts the data folder, also while a server uses it."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli import db_transfer, restart
from threadloom.cli.options import add_config, add_verb, whole_number
from threadloom.cli.progress import working
from threadloom.errors import ConfigError, StartError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs
    from threadloom.maintenance import CheckReport

WAIT_SECONDS = 300
POLL_SECONDS = 0.1


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs, "db", help="back up, restore, check and tidy the data folder", example="threadloom db backup monday.db"
    )
    ways = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    backing = add_verb(
        ways,
        "backup",
        help="write the data as they are now into one file; a server may go on meanwhile",
        example="threadloom db backup monday.db",
    )
    backing.add_argument("file", type=Path, metavar="FILE", help="the file to write")
    backing.add_argument("--force", action="store_true", help="replace the file if it is there")
    backing.set_defaults(run=run_backup)

    restoring = add_verb(
        ways,
        "restore",
        help="put a backup in place of the data; a running server begins again with it, the old data are kept beside",
        example="threadloom db restore monday.db",
    )
    restoring.add_argument("file", type=Path, metavar="FILE", help="a file that `db backup` wrote")
    restoring.set_defaults(run=run_restore)

    vacuuming = add_verb(
        ways,
        "vacuum",
        help="give back the room of what was deleted; a running server pauses for it",
        example="threadloom db vacuum",
    )
    vacuuming.set_defaults(run=run_vacuum)

    checking = add_verb(
        ways, "check", help="look for damage in the data; ends with 1 if there is any", example="threadloom db check"
    )
    checking.set_defaults(run=run_check)

    rekeying = add_verb(
        ways,
        "rekey",
        help="encrypt all data anew: from LANGGRAPH_AES_KEY_OLD, or from clear, to LANGGRAPH_AES_KEY; no server may run",
        example="threadloom db rekey",
    )
    rekeying.add_argument(
        "--decrypt", action="store_true", help="leave all in clear: only LANGGRAPH_AES_KEY_OLD is set then"
    )
    rekeying.set_defaults(run=run_rekey)

    db_transfer.add(ways)
    for way in (backing, restoring, vacuuming, checking, rekeying):
        add_config(way)
        way.add_argument("--data", type=Path, metavar="DIR", help="the data folder (default: the configuration's)")
    for way in (restoring, vacuuming):
        way.add_argument(
            "--wait",
            type=whole_number,
            default=WAIT_SECONDS,
            metavar="SECONDS",
            help=f"how long to wait for a running server to do it (default: {WAIT_SECONDS})",
        )


def folder_of(given: argparse.Namespace) -> Path:
    """Returns the data folder of a command.

    Raises:
        ConfigError: it is not given, and there is no configuration that names it.
    """
    if given.data is not None:
        named: Path = given.data
        return named.absolute()
    from threadloom.config import load

    settings = load(given.config, os.environ, {})
    if settings.postgres_uri is not None:
        raise ConfigError(
            f"The data are in PostgreSQL ({settings.where}), which has its own means for that: pg_dump, pg_restore, VACUUM."
        )
    return settings.data


def run_backup(given: argparse.Namespace) -> int:
    from threadloom import maintenance

    target: Path = given.file
    if target.exists() and not given.force:
        raise StartError(f"{target} is there already. Choose another name, or --force to replace it.")
    folder = folder_of(given)
    with working("copying") as progress:
        maintenance.backup(folder, target, progress)
    print(f"{target}: {size(target.stat().st_size)}")
    return 0


def run_restore(given: argparse.Namespace) -> int:
    from threadloom import maintenance

    folder = folder_of(given)
    with working("copying") as progress:
        maintenance.request_restore(folder, given.file, progress)
    with working("putting it in place"):
        have_done(folder, given.wait)
    kept = sorted(folder.glob(f"{maintenance.FILE}.replaced-*[0-9]"))
    print(f"{given.file} is in place." + (f" The data that were there before: {kept[-1]}" if kept else ""))
    return 0


def run_vacuum(given: argparse.Namespace) -> int:
    from threadloom import maintenance

    folder = folder_of(given)
    file = folder / maintenance.FILE
    if not file.is_file():
        raise StartError(f"There is no {maintenance.FILE} in {folder}")
    before = file.stat().st_size
    maintenance.request_vacuum(folder)
    with working("vacuuming"):
        have_done(folder, given.wait)
    print(f"{file}: {size(before)} before, {size(file.stat().st_size)} now")
    return 0


def run_check(given: argparse.Namespace) -> int:
    with working("checking") as progress:
        found = _checked(given, progress)
    for name, count in found.counts.items():
        print(f"{name:<12} {count:>10}")
    for fault in found.faults:
        print(f"Damage: {fault}", file=sys.stderr)
    for what in found.left_out:
        print(f"Not looked into: {what}")
    if found.faults:
        print(f"{len(found.faults)} faults were found.")
    else:
        print("No damage was found" + (" in what was looked into." if found.left_out else "."))
    return 1 if found.faults else 0


def _checked(given: argparse.Namespace, progress: Callable[[float], None]) -> "CheckReport":
    """Checks the data, in a folder or a database. Raises as `maintenance.check`, and ConfigError."""
    from threadloom import maintenance
    from threadloom.config.environment import read_variables
    from threadloom.config.load import load
    from threadloom.config.sections import Findings

    if given.data is None:
        settings = load(given.config, os.environ, {})
        if settings.postgres_uri is not None:
            return maintenance.check_database(settings.postgres_uri, settings.vars, progress)
        return maintenance.check(settings.data, settings.vars, progress)
    return maintenance.check(given.data.absolute(), read_variables(os.environ, Findings()), progress)


def run_rekey(given: argparse.Namespace) -> int:
    from threadloom import maintenance
    from threadloom.config import load

    settings = load(given.config, os.environ, {"data": given.data})
    key, old = settings.vars.langgraph_aes_key, settings.vars.langgraph_aes_key_old
    if given.decrypt and (key is not None or old is None):
        raise ConfigError("--decrypt takes the key from LANGGRAPH_AES_KEY_OLD, and LANGGRAPH_AES_KEY must not be set.")
    if not given.decrypt and key is None:
        raise ConfigError("LANGGRAPH_AES_KEY is not set: it is what the data are to be encrypted with (or --decrypt).")
    if settings.postgres_uri is None and not (settings.data / maintenance.FILE).is_file():
        raise StartError(f"There is no {maintenance.FILE} in {settings.data}")
    with working("encrypting" if key is not None else "decrypting") as progress:
        changed = maintenance.rekey(settings, progress)
    if settings.postgres_uri is not None:
        print(f"{changed} places were written anew. What was there before stays on the disk until VACUUM FULL.")
        return 0
    # The old content is still in the file, in pages that are free now.
    maintenance.request_vacuum(settings.data)
    with working("vacuuming"), maintenance.locked(settings.data):
        maintenance.apply_requests(settings.data)
    print(f"{changed} places were written anew.")
    copies = sorted(path.name for path in settings.data.glob(f"{maintenance.FILE}.*") if path.is_file())
    if copies:
        print(f"Older copies in {settings.data} are as they were: {', '.join(copies)}")
    return 0


def have_done(folder: Path, seconds: float) -> None:
    """Executes the maintenance requests of a data folder: in this process when no server uses the folder, else in the server,
    which restarts.

    Raises:
        StartError: the server did not execute them in time.
    """
    from threadloom import maintenance

    try:
        with maintenance.locked(folder):
            maintenance.apply_requests(folder)
        return
    except maintenance.FolderLocked as held:
        server = held.process
    if server is None or restart.SIGNAL is None:
        raise StartError(f"A server uses {folder} and cannot be told. It will be done when that is started again.")
    print(f"The server (process {server}) begins again …", file=sys.stderr)
    try:
        os.kill(server, restart.SIGNAL)
    except OSError as error:
        raise StartError(
            f"The server (process {server}) cannot be told: {error.strerror}. It will be done when it is started again."
        ) from error
    deadline = time.monotonic() + seconds
    while maintenance.requests(folder):
        if time.monotonic() > deadline:
            raise StartError(f"The server did not come to it within {seconds:g} s. It will do it when it begins again.")
        time.sleep(POLL_SECONDS)


def size(bytes_: float) -> str:
    """Formats a number of bytes."""
    for unit in ("B", "kB", "MB"):
        if bytes_ < 1000:
            return f"{bytes_:.3g} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.3g} GB"
