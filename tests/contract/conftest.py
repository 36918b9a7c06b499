"""One suite, many implementations: every test that takes `storage` runs on each storage there is."""

import pytest

from tests.encryptions import CIPHERS
from threadloom.lineage.segments import UNBOUNDED
from threadloom.storage.sqlite import SqliteStorage

TABLES = ("segs", "heads", "cks", "writes", "blobs", "run_spans")


@pytest.fixture
def cipher():
    """What seals the storage. A module that is to pass on sealed storages too has a fixture of this name with `CIPHERS`."""
    return "plain"


@pytest.fixture(params=["sqlite"])
async def storage(request, tmp_path, cipher):
    """An open, empty storage of each kind."""
    storage = {"sqlite": SqliteStorage}[request.param](tmp_path / "data")
    storage = CIPHERS[cipher](storage)
    await storage.open()
    yield storage
    await storage.close()


class LineageTables:
    """The lineage's tables, for tests of what cannot be seen through the interface: leftovers and broken links."""

    def __init__(self, storage: SqliteStorage) -> None:
        self._database = storage.database

    def rows(self, query, *values):
        return self._database.read(lambda connection: connection.execute(query, values).fetchall())

    def counts(self):
        return {table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}

    def check(self):
        """The invariants of the storage design, §1.7, that concern the tables."""
        edges = {seg: (parent, upto) for seg, parent, upto in self.rows("SELECT id, parent, upto FROM segs")}
        bounds: dict[int, int] = {}
        for (head,) in self.rows("SELECT seg FROM heads"):
            segment, bound = head, UNBOUNDED
            while segment is not None:
                bounds[segment] = max(bounds.get(segment, 0), bound)
                parent, upto = edges[segment]
                assert parent is None or upto < bound
                segment, bound = parent, upto
        assert bounds.keys() == edges.keys()
        for table in ("cks", "writes"):
            for seg, pos in self.rows(f"SELECT seg, pos FROM {table}"):
                assert pos <= bounds[seg], f"{table} {pos} is nobody's"
                assert pos > (edges[seg][1] or 0), f"{table} {pos} lies in what segment {seg} inherits"
        assert self.rows("SELECT id FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM cks WHERE pos = b.pos)") == []
        assert (
            self.rows(
                "SELECT c.pos, r.value FROM cks c, json_each(c.refs) r"
                " WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE id = r.value)"
            )
            == []
        )
        assert self.rows("SELECT id FROM blobs WHERE id NOT IN (SELECT r.value FROM cks c, json_each(c.refs) r)") == []


@pytest.fixture
def lineage_tables(storage):
    return LineageTables(storage)
