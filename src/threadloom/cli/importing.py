"""`threadloom import`: bring in what another server or another saver keeps."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from threadloom.cli.db import progress
from threadloom.cli.options import add_config, add_verb

if TYPE_CHECKING:
    from threadloom.cli.options import Verbs
    from threadloom.config.settings import Settings
    from threadloom.moving.bring import Brought


def add(verbs: "Verbs") -> None:
    parser = add_verb(
        verbs,
        "import",
        help="bring in threads from the tables of langgraph-checkpoint-postgres; those that are here already stay as they are",
        example="threadloom import --from-postgres postgresql://user:password@host/name --graph agent",
    )
    parser.add_argument(
        "--from-postgres",
        required=True,
        metavar="URI",
        help="a database with the tables `checkpoints`, `checkpoint_blobs` and `checkpoint_writes`",
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
    """
    Raises:
        ConfigError: the configuration or a graph cannot be used.
        StartError: the data folder is in use.
        StorageError: a database cannot be reached, or has no such tables.
    """
    from threadloom.config import load
    from threadloom.errors import ConfigError

    settings = load(given.config, os.environ, {"data": given.data})
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


async def _bring(settings: "Settings", given: argparse.Namespace, graph_id: str | None) -> "Brought":
    from threadloom.moving.bring import bring_in, reading
    from threadloom.moving.checkpoint_tables import CheckpointTables
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
            return await bring_in(storage, tables, read, only=given.thread, progress=progress("reading"))
    finally:
        await storage.close()
