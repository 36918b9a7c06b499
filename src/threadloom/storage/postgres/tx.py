"""A transaction on PostgreSQL: the tables side by side on one session."""

from collections.abc import Callable

from threadloom.storage.postgres.edges import Edges
from threadloom.storage.postgres.lineage import PostgresLineage
from threadloom.storage.postgres.session import Session


class PostgresTx:
    """The tables as one transaction sees them.

    Args:
        session: the transaction.
        edges: what the process knows of segments.
        collect_later: see `LineageCuts`.
    """

    def __init__(self, session: Session, edges: Edges, collect_later: Callable[[], None]) -> None:
        self.lineage = PostgresLineage(session, edges, collect_later)
