"""`threadloom import`: imports the threads and records of another server or saver."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli.options import add_config, add_verb
from threadloom.cli.progress import working
from threadloom.errors import ConfigError

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs
    from threadloom.config.settings import Settings
    from threadloom.importers.from_server import ServerImportReport
    from threadloom.importers.import_threads import ImportReport


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "import",
        help="bring in what another server, or langgraph-checkpoint-postgres, keeps; what is here already stays as it is",
        example="threadloom import --from-postgres postgresql://user:password@host/name --graph agent\n"
        "  threadloom import --from-url http://127.0.0.1:8123 --header 'x-api-key: secret'",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from-postgres",
        metavar="URI",
        help="threads from the tables `checkpoints`, `checkpoint_blobs` and `checkpoint_writes` of a database",
    )
    source.add_argument(
        "--from-url",
        metavar="URL",
        help="threads, assistants, crons and items of the store from a server of the LangGraph Server API",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME: VALUE",
        help="sent to the server of --from-url with every request; may be given again and again",
    )
    parser.add_argument(
        "--graph", metavar="NAME", help="the graph of threads whose checkpoints name none (default: the only one)"
    )
    parser.add_argument(
        "--thread", action="append", metavar="ID", help="only this thread; may be given again and again"
    )
    add_config(parser)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="bring them into this data folder, whatever DATABASE_URI says"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs `threadloom import`.

    Raises:
        ConfigError: the configuration or a graph cannot be used.
        StartError: the data folder is in use.
        StorageError: a database cannot be reached, or has no such tables.
    """
    from threadloom.config import load

    if given.from_url is None and given.header:
        raise ConfigError("--header belongs to --from-url.")
    if given.from_url is not None and given.graph is not None:
        raise ConfigError("--graph belongs to --from-postgres: a server tells the graph of each thread.")
    settings = load(given.config, os.environ, {"data": given.data})
    if given.from_url is not None:
        return _report(asyncio.run(_from_server(settings, given, _headers(given.header))), settings)
    if given.graph is not None and given.graph not in settings.graphs:
        raise ConfigError(f"--graph {given.graph}: there is no such graph, but {', '.join(settings.graphs)}")
    only_graph = next(iter(settings.graphs)) if len(settings.graphs) == 1 else None
    brought = asyncio.run(_bring(settings, given, given.graph or only_graph))
    print(f"{brought.threads} threads with {brought.checkpoints} checkpoints are now in {settings.where}.")
    if brought.there:
        print(f"{brought.there} threads were there already, and stayed as they were.")
    if brought.untied:
        print(f"{brought.untied} threads are tied to no graph, so their states are not shown: name it with --graph.")
    for thread_id in brought.unread:
        print(f"The state of thread {thread_id} cannot be read through its graph.", file=sys.stderr)
    return 0


async def _bring(settings: "Settings", given: argparse.Namespace, graph_id: str | None) -> "ImportReport":
    from threadloom.importers.checkpoint_tables import CheckpointTables
    from threadloom.importers.import_threads import import_threads, reading
    from threadloom.wiring import Server

    server = Server(settings)
    storage = server.storage
    await storage.open()
    try:
        tables = CheckpointTables(
            given.from_postgres, serde=server.saver.serde, new_blob_id=storage.new_blob_id, graph_id=graph_id
        )
        async with tables:
            read = reading(storage, server.generation.graphs)
            with working("importing") as progress:
                return await import_threads(storage, tables, read, only=given.thread, progress=progress)
    finally:
        await storage.close()


def _headers(lines: Sequence[str]) -> dict[str, str]:
    """Parses headers of the form `NAME: VALUE`.

    Raises:
        ConfigError: a line is not a header.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"--header {name}: must be NAME: VALUE")
        headers[name.strip()] = value.strip()
    return headers


async def _from_server(
    settings: "Settings", given: argparse.Namespace, headers: dict[str, str]
) -> "ServerImportReport":
    from threadloom.importers.from_server import ServerImporter
    from threadloom.importers.source_server import SourceServer as Source
    from threadloom.wiring import Server

    server = Server(settings)
    storage = server.storage
    await storage.open()
    try:
        async with server.store, Source(given.from_url, headers) as source:
            bringing = ServerImporter(source, storage=storage, graphs=server.generation.graphs, store=server.store)
            with working("importing") as progress:
                if given.thread:
                    return await bringing.some(given.thread, progress)
                return await bringing.all(progress)
    finally:
        await storage.close()


def _report(taken: "ServerImportReport", settings: "Settings") -> int:
    threads = taken.threads
    print(
        f"{threads.threads} threads with {threads.checkpoints} checkpoints, {taken.assistants} assistants, {taken.crons} crons"
        f" and {taken.items} items are now in {settings.where}."
    )
    if threads.there:
        print(f"{threads.there} threads were there already, and stayed as they were.")
    for cron_id in taken.idle_crons:
        print(f"Cron {cron_id} was left out: its thread is not here.", file=sys.stderr)
    for thread_id, why in taken.failed.items():
        print(f"Thread {thread_id} was left out: {why}.", file=sys.stderr)
    return 1 if taken.failed else 0
