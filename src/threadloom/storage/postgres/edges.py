"""The chain of a thread, from the process's cache of edges and from the database."""

from threadloom.lineage.segments import KEPT_EDGES, UNBOUNDED, Branches, Chain, Edge
from threadloom.storage.named import load
from threadloom.storage.postgres.session import Session

_EDGES = load(__package__, "lineage.sql")["edges"]


class PostgresEdges:
    """A cache of parent edges by segment, for any thread. It is never stale: an edge never changes, and a segment id is never
    reused.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Edge | None, int | None]] = {}

    async def chain(self, session: Session, head: int) -> tuple[Chain, Branches]:
        """Returns the chain of a thread with this head, and its branches."""
        known = self._known
        if not session.writes and len(known) >= KEPT_EDGES:
            known.clear()
        # Rows that a transaction wrote itself must not be cached for others before the commit, which may never come.
        learnt = {} if session.writes else known
        links: list[Edge] = [(head, UNBOUNDED)]
        branches: dict[int, int] = {}
        segment = head
        while True:
            if segment not in known and segment not in learnt:
                for id_, parent, upto, branch_at in await session.fetch(_EDGES, segment):
                    learnt[id_] = (None if parent is None else (parent, upto)), branch_at
            edge, branch_at = known[segment] if segment in known else learnt[segment]
            if branch_at is not None:
                branches[segment] = branch_at
            if edge is None:
                return tuple(links), branches
            links.append(edge)
            segment = edge[0]
