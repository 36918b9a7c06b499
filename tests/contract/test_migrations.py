"""Migrations of both storages, by ones that the tests bring along; and databases that are refused."""

import asyncio
import contextlib
import importlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from tests.postgres_server import database_in
from tests.storages import rows_of
from threadloom.cli import main
from threadloom.errors import StartError
from threadloom.storage.migrations import Migration
from threadloom.storage.postgres import PostgresStorage, migrate
from threadloom.storage.postgres.connections import SETTINGS, connected
from threadloom.storage.sqlite import SqliteStorage

KINDS = ["sqlite", "postgres"]

ADDED = [
    Migration(2, "0002_following", "CREATE TABLE following (id bigint PRIMARY KEY, note text); -- more; to come\n"),
    Migration(
        3,
        "0003_notes",
        "INSERT INTO following VALUES (1, 'a;b');\nALTER TABLE following ADD COLUMN late bigint DEFAULT 7;",
    ),
]
"""The second needs the first, and neither can be applied twice."""

COLUMNS = """
SELECT 'column', c.table_name, c.column_name, c.data_type, c.column_default, c.is_nullable, c.collation_name
FROM information_schema.columns c WHERE c.table_schema = 'threadloom'
UNION ALL
SELECT 'index', tablename, indexname, indexdef, '', '', '' FROM pg_indexes WHERE schemaname = 'threadloom'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', ''
FROM pg_constraint WHERE connamespace = 'threadloom'::regnamespace
ORDER BY 1, 2, 3, 4
"""

FUNCTIONS = """
SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'threadloom'::regnamespace ORDER BY 1, 2
"""


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def place(kind, request, tmp_path):
    """Where a new database is: a folder, or an address."""
    if kind == "sqlite":
        yield tmp_path / "data"
    else:
        yield request.getfixturevalue("database")


def storage_at(place):
    return SqliteStorage(place) if isinstance(place, Path) else PostgresStorage(place)


def module(kind):
    return importlib.import_module(f"threadloom.storage.{kind}.migrate")


async def _opened(place, query=None):
    storage = storage_at(place)
    await storage.open()
    try:
        return query and await asyncio.to_thread(rows_of, storage, query)
    finally:
        await storage.close()


def opened(place, query=None):
    """Opens a storage as a server does; gives what a query finds there."""
    return asyncio.run(_opened(place, query))


def executed(place, statement):
    """Runs a statement behind the storage's back; gives its rows."""
    if isinstance(place, Path):
        place.mkdir(exist_ok=True)
        with contextlib.closing(sqlite3.connect(place / "threadloom.db")) as connection:
            rows = connection.execute(statement).fetchall()
            connection.commit()
            return rows

    async def run():
        connection = await asyncpg.connect(place, server_settings={"search_path": SETTINGS["search_path"]})
        rows = await connection.fetch(statement)
        await connection.close()
        return [tuple(row) for row in rows]

    return asyncio.run(run())


def schema(place):
    if isinstance(place, Path):
        return sorted(executed(place, "SELECT type, name, sql FROM sqlite_master"), key=repr)
    return executed(place, COLUMNS)


def release(monkeypatch, kind, known):
    """A release with these migrations."""
    for name, one in list(sys.modules.items()):
        if name.startswith(f"threadloom.storage.{kind}.") and hasattr(one, "migrations"):
            monkeypatch.setattr(one, "migrations", lambda: known)


def bring(monkeypatch, kind, added):
    """A release with these migrations after its own."""
    release(monkeypatch, kind, [*module(kind).migrations(), *added])


def test_migrations_have_numbers_of_their_own(kind):
    """Two of one number, and only one would ever be applied."""
    numbers = [migration.number for migration in module(kind).migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_upgraded_database_equals_a_fresh_one(kind, place, tmp_path, postgres_uri, monkeypatch):
    opened(place)
    before = schema(place)
    bring(monkeypatch, kind, ADDED)
    assert opened(place, "SELECT id, note, late FROM following") == [(1, "a;b", 7)]
    assert opened(place, "SELECT id, note, late FROM following") == [(1, "a;b", 7)], "applied once"
    recorded = executed(place, "SELECT number, name, digest FROM migrations WHERE number > 0 ORDER BY number")
    assert recorded == [(known.number, known.name, known.digest) for known in module(kind).migrations()]
    with contextlib.ExitStack() as stack:
        fresh = tmp_path / "fresh" if kind == "sqlite" else stack.enter_context(database_in(postgres_uri))
        opened(fresh)
        assert before != schema(place) == schema(fresh)


def test_a_migration_that_fails_changes_nothing(kind, place, monkeypatch):
    opened(place)
    before = schema(place)
    bring(
        monkeypatch,
        kind,
        [ADDED[0], Migration(3, "0003_wrong", "CREATE TABLE more (id bigint); SELECT x FROM nowhere -- here")],
    )
    with pytest.raises(Exception, match=r"no such table: nowhere|relation \"nowhere\" does not exist"):
        opened(place)
    assert schema(place) == before
    assert executed(place, "SELECT max(number) FROM migrations") == [(1,)]


STARTING = """
import asyncio, importlib, json, sqlite3, sys, time
from pathlib import Path
from threadloom.storage.migrations import Migration
from threadloom.storage.postgres.connections import connected

kind, place, go, added = sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
migrate = importlib.import_module(f"threadloom.storage.{kind}.migrate")
known = [*migrate.migrations(), *(Migration(*one) for one in added)]
migrate.migrations = lambda: known
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
if kind == "sqlite":
    migrate.migrate(sqlite3.connect(Path(place) / "threadloom.db", isolation_level=None, timeout=60))
else:
    async def start():
        async with connected(place) as connection:
            await migrate.migrate(connection)
    asyncio.run(start())
"""
"""A process that brings a database up to date, as soon as a file is there."""


def test_processes_that_start_at_once_apply_each_migration_once(kind, place, tmp_path):
    """Of a database that is in use, and of one that is new."""
    executed(place, "SELECT 1")
    go = tmp_path / "go"
    command = [sys.executable, "-c", STARTING, kind, str(place), str(go), json.dumps(ADDED)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    go.touch()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert executed(place, "SELECT id, note, late FROM following") == [(1, "a;b", 7)]
    assert executed(place, "SELECT number FROM migrations WHERE number > 0 ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_migration_that_was_changed_is_refused(kind, place, monkeypatch, capsys):
    first = module(kind).migrations()[0]
    opened(place)
    same = first._replace(text="-- another comment\n" + first.text.replace("\n", "\n\n"))
    release(monkeypatch, kind, [same])
    opened(place)
    changed = first._replace(text=first.text + "CREATE TABLE more (id bigint);")
    release(monkeypatch, kind, [changed, *ADDED])
    before = schema(place)
    with pytest.raises(StartError, match="its migration 0001_initial was a different one"):
        opened(place)
    assert schema(place) == before
    if kind == "sqlite":
        assert main(["db", "check", "--data", str(place)]) == 1
        assert "was a different one" in capsys.readouterr().err


def test_a_database_of_a_newer_release_is_refused(kind, place):
    opened(place)
    executed(
        place, "INSERT INTO migrations (number, name, digest, release) VALUES (9999, '9999_new', '', '') RETURNING 1"
    )
    with pytest.raises(StartError, match=r"newer release of Threadloom \(schema 9999"):
        opened(place)


# --- databases of development versions, before the first release ---

OLD = {
    "sqlite": [
        *(f"CREATE TABLE {table} (id INTEGER)" for table in ("threads", "runs", "outcomes")),
        "INSERT INTO threads VALUES (1)",
        "PRAGMA user_version = 19",
    ],
    "postgres": [
        "CREATE SCHEMA threadloom",
        "CREATE TABLE threadloom.migrations (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
        "INSERT INTO threadloom.migrations (number) VALUES (8)",
    ],
}


@pytest.fixture
def old(kind, place):
    for statement in OLD[kind]:
        executed(place, statement)
    return place


def test_a_database_of_a_development_version_is_refused(kind, old):
    before = schema(old)
    files = list(old.glob("threadloom.db*")) if kind == "sqlite" else []
    with pytest.raises(StartError, match="written by a development version of Threadloom") as refused:
        opened(old)
    assert ("delete the file" if kind == "sqlite" else "DROP SCHEMA threadloom") in str(refused.value)
    assert "threadloom import --from-url" in str(refused.value)
    assert schema(old) == before
    assert kind == "postgres" or list(old.glob("threadloom.db*")) == files


VERBS = {
    "sqlite": [
        "backup {other}/saved.db --data {place}",
        "restore {place}/threadloom.db --data {other}",
        "vacuum --data {place}",
        "check --data {place}",
        "migrate --data {place}",
        "rekey --data {place}",
        "copy --from sqlite:{place} --to sqlite:{other}/new",
    ],
    "postgres": [
        "check",
        "migrate",
        "rekey",
        "copy --from {place} --to sqlite:{other}",
        "copy --from sqlite:{other}/empty --to {place}",
    ],
}


def test_every_verb_refuses_it(kind, old, tmp_path, monkeypatch, capsys):
    (tmp_path / "langgraph.json").write_text('{"dependencies": ["."], "graphs": {"chat": "./chat.py:graph"}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "a new key of 24 letters.")
    if kind == "postgres":
        monkeypatch.setenv("DATABASE_URI", old)
        opened(tmp_path / "other" / "empty")
    before = schema(old)
    for verb in VERBS[kind]:
        words = verb.format(place=old, other=tmp_path / "other").split()
        assert main(["db", *words]) == 1, verb
        assert "written by a development version of Threadloom" in capsys.readouterr().err, verb
        assert schema(old) == before
    if kind == "sqlite":
        assert sorted(file.name for file in old.iterdir()) in (["threadloom.db"], ["lock", "threadloom.db"])


# --- functions of PostgreSQL ---

FIRST = """
CREATE OR REPLACE FUNCTION tl_first(a integer) RETURNS integer LANGUAGE sql AS $$ SELECT a $$;
CREATE OR REPLACE FUNCTION tl_second(a integer) RETURNS integer LANGUAGE sql AS $$ SELECT tl_first($1) + 1 $$;
"""

LATER = {
    "another body": FIRST.replace("+ 1", "+ 2"),
    "one more": FIRST
    + "CREATE OR REPLACE FUNCTION tl_third() RETURNS integer LANGUAGE sql AS $$ SELECT tl_second(1) $$;",
    "one less": FIRST.partition("CREATE OR REPLACE FUNCTION tl_second")[0],
    "another result": FIRST.replace("RETURNS integer", "RETURNS bigint"),
    "another name of a parameter": FIRST.replace("a integer", "b integer")
    .replace("SELECT a ", "SELECT b ")
    .replace("(a)", "(b)"),
    "another parameter": FIRST.replace("tl_first(a integer)", "tl_first(a bigint)"),
    "only a comment": "-- A comment.\n" + FIRST,
}


def applied(place, monkeypatch, text, version=migrate.__version__):
    """Starts a release with these functions and hardly a table; gives the functions of the database."""
    release(monkeypatch, "postgres", [Migration(1, "0001_small", "CREATE TABLE small (id bigint);")])
    monkeypatch.setattr(migrate, "functions", lambda: text)
    monkeypatch.setattr(migrate, "__version__", version)

    async def start():
        async with connected(place) as connection:
            await migrate.migrate(connection)

    asyncio.run(start())
    return executed(place, FUNCTIONS)


def test_functions_become_those_of_the_file(database, monkeypatch):
    for change, text in LATER.items():
        before = applied(database, monkeypatch, FIRST)
        after = applied(database, monkeypatch, text)
        executed(database, "DROP SCHEMA threadloom CASCADE")
        assert after == applied(database, monkeypatch, text), change
        assert (after == before) == (change == "only a comment"), change
        executed(database, "DROP SCHEMA threadloom CASCADE")


def test_functions_that_fail_leave_those_that_were(database, monkeypatch):
    before = applied(database, monkeypatch, FIRST)
    with pytest.raises(asyncpg.PostgresSyntaxError):
        applied(database, monkeypatch, LATER["one less"] + "CREATE OR REPLACE FUNCTION tl_x() nonsense;")
    assert executed(database, FUNCTIONS) == before


def test_functions_of_a_newer_release_stay(database, monkeypatch):
    """A process of the release before that is started again does not put back what those of the newer one need."""
    newer = applied(database, monkeypatch, LATER["one more"], "0.10.1")
    assert applied(database, monkeypatch, FIRST, "0.9.2") == newer
    assert applied(database, monkeypatch, FIRST, "0.10.2") != newer


def test_no_migration_calls_a_function():
    """Nor does an index: those of then are not those of now."""
    names = re.findall(r"^CREATE OR REPLACE FUNCTION (tl_\w+)\(", migrate.functions(), re.MULTILINE)
    assert len(names) == len(set(names)) == migrate.functions().count("\nCREATE ")
    for migration in migrate.migrations():
        assert not re.search(r"\btl_\w+\(", migration.text), migration.name
