"""A transaction on SQLite: the tables side by side on one connection."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

from threadloom.storage.sqlite.assistants import SqliteAssistants
from threadloom.storage.sqlite.ciphertexts import SqliteCiphertexts
from threadloom.storage.sqlite.crons import SqliteCrons
from threadloom.storage.sqlite.deliveries import SqliteDeliveries
from threadloom.storage.sqlite.events import SqliteEvents
from threadloom.storage.sqlite.items import SqliteItems
from threadloom.storage.sqlite.lineage import SqliteLineage
from threadloom.storage.sqlite.runs import SqliteRuns
from threadloom.storage.sqlite.tasks import SqliteTasks
from threadloom.storage.sqlite.threads import SqliteThreads
from threadloom.storage.sqlite.vectors import VectorCache

T = TypeVar("T")


class SqliteTx:
    """The tables of one connection, for as long as the connection lives."""

    def __init__(self, connection: sqlite3.Connection, vectors: VectorCache) -> None:
        self.lineage = SqliteLineage(connection)
        self.threads = SqliteThreads(connection)
        self.runs = SqliteRuns(connection)
        self.events = SqliteEvents(connection)
        self.assistants = SqliteAssistants(connection)
        self.items = SqliteItems(connection, vectors)
        self.crons = SqliteCrons(connection)
        self.tasks = SqliteTasks(connection)
        self.deliveries = SqliteDeliveries(connection)
        self.ciphertexts = SqliteCiphertexts(connection)


def drive(work: Callable[[SqliteTx], Awaitable[T]], tx: SqliteTx) -> T:
    """Runs `work` to its end at once: nothing a SQLite transaction awaits ever suspends.

    Raises:
        RuntimeError: `work` awaited something other than its transaction.
    """
    steps = work(tx).__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a transaction may await nothing but its storage")
