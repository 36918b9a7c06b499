"""A transaction on SQLite: the classes of all tables on one connection."""

import sqlite3

from threadloom.storage.ranking import SharedVectors
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


class SqliteTx:
    """The tables of one connection, for as long as the connection lives."""

    def __init__(self, connection: sqlite3.Connection, vectors: SharedVectors) -> None:
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
