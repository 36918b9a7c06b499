"""A transaction on PostgreSQL: the classes of all tables on one session."""

from collections.abc import Callable
from functools import cached_property

from threadloom.storage.postgres.assistants import PostgresAssistants
from threadloom.storage.postgres.ciphertexts import PostgresCiphertexts
from threadloom.storage.postgres.crons import PostgresCrons
from threadloom.storage.postgres.deliveries import PostgresDeliveries
from threadloom.storage.postgres.edges import PostgresEdges
from threadloom.storage.postgres.events import PostgresEvents
from threadloom.storage.postgres.items import PostgresItems
from threadloom.storage.postgres.lineage import PostgresLineage
from threadloom.storage.postgres.runs import PostgresRuns
from threadloom.storage.postgres.session import Session
from threadloom.storage.postgres.tasks import PostgresTasks
from threadloom.storage.postgres.threads import PostgresThreads
from threadloom.storage.ranking import SharedVectors


class PostgresTx:
    """The tables as one transaction sees them, each created when it is first used.

    Args:
        session: the transaction.
        edges: the process's cache of edges.
        vectors: the process's cache of vectors.
        collect_later: see `PostgresSegments`.
    """

    def __init__(
        self, session: Session, edges: PostgresEdges, vectors: SharedVectors, collect_later: Callable[[], None]
    ) -> None:
        self._session = session
        self._edges = edges
        self._vectors = vectors
        self._collect_later = collect_later

    lineage = cached_property(lambda self: PostgresLineage(self._session, self._edges, self._collect_later))
    threads = cached_property(lambda self: PostgresThreads(self._session))
    runs = cached_property(lambda self: PostgresRuns(self._session))
    events = cached_property(lambda self: PostgresEvents(self._session))
    assistants = cached_property(lambda self: PostgresAssistants(self._session))
    crons = cached_property(lambda self: PostgresCrons(self._session))
    items = cached_property(lambda self: PostgresItems(self._session, self._vectors))
    tasks = cached_property(lambda self: PostgresTasks(self._session))
    deliveries = cached_property(lambda self: PostgresDeliveries(self._session))
    ciphertexts = cached_property(lambda self: PostgresCiphertexts(self._session))
