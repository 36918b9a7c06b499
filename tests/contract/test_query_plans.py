"""No query reads a whole table that grows with use: what a run costs must not depend on how many there were before."""

import re

import pytest

from threadloom.storage.named import load
from threadloom.storage.sqlite import SqliteStorage

GROWING = {
    "runs",
    "outcomes",
    "events",
    "deliveries",
    "threads",
    "states",
    "checkpoints",
    "writes",
    "blobs",
    "segments",
    "heads",
    "items",
    "run_spans",
    "forks",
}
WHOLE = {
    ("lineage.sql", "heads"): "the checkpoints of all threads were asked for",
    ("deliveries.sql", "search"): "a page, in the order of making, or what an index finds",
    ("deliveries.sql", "count"): "the same",
    ("items.sql", "list_all"): "a page of all items, in the order of an index",
}
"""Queries that may read all they find, and why."""

SMALL = {
    "runs_pending",
    "runs_one_running",
    "runs_ready",
    "runs_delayed",
    "runs_waiting",
    "runs_pending_of_user",
    "deliveries_due",
}
"""Indexes that hold only what is still to end."""

FILES = (
    "assistants.sql",
    "segments.sql",
    "crons.sql",
    "deliveries.sql",
    "events.sql",
    "items.sql",
    "lineage.sql",
    "relatives.sql",
    "runs.sql",
    "tasks.sql",
    "threads.sql",
)


def scanned(connection, query):
    """The tables that SQLite would read from end to end."""
    named = re.findall(r"[:](\w+)", query)
    count = max([len(re.findall(r"\?(?!\d)", query)), *(int(number) for number in re.findall(r"\?(\d+)", query))])
    values = dict.fromkeys(named) if named else [None] * count
    plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
    aliases = dict(re.findall(r"(\w+) (\w)\b", query))
    names = {alias: table for table, alias in aliases.items()}
    found = (re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step[3]) for step in plan)
    return {names.get(match[1], match[1]) for match in found if match and match[2] not in SMALL} & GROWING


@pytest.mark.anyio
async def test_no_query_reads_a_whole_table(tmp_path):
    storage = SqliteStorage(tmp_path)
    await storage.open()
    connection = storage.database.connect()
    found = {
        (file, name): tables
        for file in FILES
        for package in ["threadloom.storage" if file == "relatives.sql" else "threadloom.storage.sqlite"]
        for name, query in load(package, file).items()
        if (tables := scanned(connection, query))
    }
    await storage.close()
    assert {key: tables for key, tables in found.items() if key not in WHOLE} == {}
    assert WHOLE.keys() <= found.keys(), "an exception that is none any more"
