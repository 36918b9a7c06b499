"""What cannot be seen through the interface of a storage: its tables."""

import pytest

from tests.storages import kind_of, rows_of
from threadloom.lineage.segments import UNBOUNDED

TABLES = ("segments", "heads", "former_heads", "tags", "checkpoints", "writes", "blobs", "run_spans")

REFS = {
    "sqlite": "SELECT c.pos, r.value AS blob FROM checkpoints c, json_each(c.refs) r",
    "postgres": "SELECT c.pos, r.blob FROM checkpoints c, unnest(c.blobs) AS r (blob)",
}
"""Which blobs each checkpoint refers to."""


class LineageTables:
    """The lineage's tables, for tests of what cannot be seen through the interface: leftovers and broken links."""

    def __init__(self, storage) -> None:
        self._storage = storage

    def rows(self, query, *values):
        return rows_of(self._storage, query, *values)

    def counts(self):
        return {table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}

    def check(self):
        """The invariants of the tables of a lineage."""
        edges = {seg: (parent, upto) for seg, parent, upto in self.rows("SELECT id, parent, upto FROM segments")}
        bounds: dict[int, int] = {}
        for (head,) in self.rows("SELECT seg FROM heads"):
            segment, bound = head, UNBOUNDED
            while segment is not None:
                bounds[segment] = max(bounds.get(segment, 0), bound)
                parent, upto = edges[segment]
                assert parent is None or upto < bound
                segment, bound = parent, upto
        assert bounds.keys() == edges.keys()
        for table in ("checkpoints", "writes"):
            for seg, pos in self.rows(f"SELECT seg, pos FROM {table}"):
                assert pos <= bounds[seg], f"{table} {pos} is nobody's"
                assert pos > (edges[seg][1] or 0), f"{table} {pos} lies in what segment {seg} inherits"
        blobs = {id_: (pos, base) for id_, pos, base in self.rows("SELECT id, pos, base FROM blobs")}
        owners = {pos for (pos,) in self.rows("SELECT pos FROM checkpoints")}
        referred = {blob for _, blob in self.rows(REFS[kind_of(self._storage)])}
        needed = set()
        for blob in referred:
            while blob is not None and blob not in needed:
                needed.add(blob)
                blob = blobs[blob][1]
        assert needed == blobs.keys()
        assert owners.issuperset(pos for pos, _ in blobs.values())


@pytest.fixture
def lineage_tables(storage):
    return LineageTables(storage)
