"""`threadloom db` on the data folder of a running server, and of none."""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client

from tests import forkserver
from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "agents"


def db(*words, data, status=0):
    """Runs a verb; gives what it printed."""
    command = [sys.executable, "-m", "threadloom", "db", *map(str, words), "--data", str(data)]
    done = forkserver.run(command, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextlib.contextmanager
def opened(file):
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory):
    """A data folder that nobody serves, with one thread, and its backup."""
    folder = tmp_path_factory.mktemp("db")
    with running(APP, folder / "data") as server:
        with httpx.Client(base_url=server.url) as http:
            thread = http.post("/threads", json={"metadata": {"mark": "kept"}}).json()["thread_id"]
            http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "count", "input": {"n": 1}})
        server.stop()
    db("backup", folder / "saved.db", data=folder / "data")
    return folder / "data", folder / "saved.db", thread


async def test_a_server_goes_on_through_backup_and_restore(tmp_path):
    data, saved = tmp_path / "data", tmp_path / "saved.db"
    with running(APP, data) as server:
        client = get_client(url=server.url)
        thread = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread, "chat", input={"messages": "before"})
        writing = [asyncio.create_task(client.runs.wait(None, "count", input={"n": n})) for n in range(20)]
        assert str(saved) in await asyncio.to_thread(db, "backup", saved, data=data)
        assert len(await asyncio.gather(*writing)) == 20
        assert "No damage" in await asyncio.to_thread(db, "check", data=data)
        await client.runs.wait(thread, "chat", input={"messages": "after"})
        late = (await client.threads.create())["thread_id"]
        asking = True
        refused = []

        async def ask():
            async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
                while asking:
                    try:
                        assert (await http.get("/live")).status_code == 200
                        assert (await http.get("/ok")).status_code in (200, 503)  # 503: it is about to begin again
                    except httpx.ConnectError as error:
                        refused.append(error)
                    except httpx.TransportError:
                        pass  # a connection that was open when the old server ended
                    await asyncio.sleep(0.01)

        visitor = asyncio.create_task(ask())
        told = await asyncio.to_thread(db, "restore", saved, data=data)
        asking = False
        await visitor
        assert "is in place" in told and "replaced-" in told
        assert not refused
        assert server.process.poll() is None
        client = get_client(url=server.url)
        values = (await client.threads.get_state(thread))["values"]
        assert [message["content"] for message in values["messages"]] == ["before", "echo: before"]
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get(f"/threads/{late}")).status_code == 404
        await client.runs.wait(thread, "chat", input={"messages": "again"})
        assert len((await client.threads.get_state(thread))["values"]["messages"]) == 4
        assert "No damage" in await asyncio.to_thread(db, "check", data=data)
        assert server.stop() == 0
    with opened(next(data.glob("threadloom.db.replaced-*[0-9]"))) as old:
        assert old.execute("SELECT count(*) FROM threads WHERE thread_id = ?", (late,)).fetchone() == (1,)


async def test_vacuum_gives_room_back_beside_a_server(tmp_path):
    data = tmp_path / "data"
    with running(APP, data) as server:
        client = get_client(url=server.url)
        kept = (await client.threads.create(metadata={"kept": True}))["thread_id"]
        for _ in range(5):
            thread = (await client.threads.create(metadata={"text": "x" * 1_000_000}))["thread_id"]
            await client.threads.delete(thread)
        told = await asyncio.to_thread(db, "vacuum", data=data)
        assert "now" in told
        assert (data / "threadloom.db").stat().st_size < 2_000_000
        assert (await client.threads.get(kept))["metadata"] == {"kept": True}


async def test_without_a_server_the_verbs_do_it_themselves(backed_up, tmp_path):
    _, saved, thread = backed_up
    data = tmp_path / "data"
    assert "is in place" in db("restore", saved, data=data)
    with opened(data / "threadloom.db") as connection:
        assert connection.execute("SELECT thread_id FROM threads").fetchall() == [(thread,)]
    assert "now" in db("vacuum", data=data)
    told = db("check", data=data)
    assert "threads" in told and "No damage" in told
    with running(APP, data) as server:
        found = await get_client(url=server.url).threads.search(metadata={"mark": "kept"})
        assert found[0]["values"] == {"n": 1, "total": 2}


def test_a_backup_replaces_nothing_unless_told(backed_up, tmp_path):
    data, _, _ = backed_up
    target = tmp_path / "there.db"
    target.write_text("precious")
    assert "--force" in db("backup", target, data=data, status=1)
    assert target.read_text() == "precious"
    db("backup", target, "--force", data=data)
    assert target.read_bytes().startswith(b"SQLite format 3")
    assert "cannot be copied" in db("backup", tmp_path / "no" / "where.db", data=data, status=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.db"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda file: file.write_text("no database"), "no SQLite database"),
        (lambda file: file.unlink(), "There is no file"),
        (
            lambda file: (file.unlink(), sqlite3.connect(file).execute("CREATE TABLE a (b)")),
            "no database of Threadloom's",
        ),
        (lambda file: file.write_bytes(file.read_bytes()[:20_000]), "malformed"),
        (lambda file: _demand_errors(file), "is damaged: NULL value in threads.error"),
        (lambda file: _set_schema(file, 999), "newer release"),
    ],
)
def test_what_is_no_backup_replaces_nothing(backed_up, tmp_path, spoil, why):
    data, saved, thread = backed_up
    spoilt = tmp_path / "spoilt.db"
    spoilt.write_bytes(saved.read_bytes())
    spoil(spoilt)
    assert why in db("restore", spoilt, data=data, status=1)
    assert not (data / "restore.db").exists()
    with opened(data / "threadloom.db") as connection:
        assert connection.execute("SELECT thread_id FROM threads").fetchall() == [(thread,)]


def _demand_errors(file):
    """Makes the file say that every thread has an error, which is not so."""
    with opened(file) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'error TEXT', 'error TEXT NOT NULL') WHERE name = 'threads'"
        )


def _set_schema(file, number):
    with opened(file) as connection:
        connection.execute("UPDATE migrations SET number = ?", (number,))


def test_damage_is_found(backed_up, tmp_path):
    _, saved, _ = backed_up
    data = tmp_path / "data"
    data.mkdir()
    (data / "threadloom.db").write_bytes(saved.read_bytes())
    with opened(data / "threadloom.db") as connection:
        connection.execute("DELETE FROM threads")
        connection.execute("DELETE FROM segments")
        connection.execute("INSERT INTO former_heads VALUES (1, 't@1', 't', NULL, 0, 'reset', '{}')")
        connection.execute("INSERT INTO tags VALUES ('t', 'kept', 'nowhere', 0, 0)")
    told = db("check", data=data, status=1)
    assert "1 runs of no thread" in told and "checkpoints of no segment" in told
    assert "1 former heads of no thread" in told and "1 former heads that point nowhere" in told
    assert "1 tags that point nowhere" in told
    assert "There is no threadloom.db" in db("check", data=tmp_path / "nowhere", status=1)


def test_a_newer_database_is_refused_and_left_alone(backed_up, tmp_path):
    _, saved, _ = backed_up
    data = tmp_path / "data"
    data.mkdir()
    (data / "threadloom.db").write_bytes(saved.read_bytes())
    _set_schema(data / "threadloom.db", 999)
    before = (data / "threadloom.db").read_bytes()
    with pytest.raises(AssertionError, match="ended with 1"), running(APP, data):
        pass
    assert "newer release" in data.with_suffix(".log").read_text()
    assert (data / "threadloom.db").read_bytes()[100:] == before[100:]


async def test_a_restore_that_was_cut_off_is_finished_at_the_next_start(backed_up, tmp_path):
    """As if the process had died after the old database was put aside."""
    _, saved, thread = backed_up
    data = tmp_path / "data"
    data.mkdir()
    (data / "restore.db").write_bytes(saved.read_bytes())
    with running(APP, data) as server:
        assert (await get_client(url=server.url).threads.get(thread))["metadata"]["mark"] == "kept"
    assert not (data / "restore.db").exists()


async def test_the_log_of_the_old_database_is_not_taken_for_that_of_the_new(backed_up, tmp_path):
    _, saved, thread = backed_up
    data = tmp_path / "data"
    with running(APP, data) as server:
        other = (await get_client(url=server.url).threads.create())["thread_id"]
        server.kill()
    assert (data / "threadloom.db-wal").exists()
    db("restore", saved, data=data)
    with opened(data / "threadloom.db") as connection:
        assert connection.execute("SELECT thread_id FROM threads").fetchall() == [(thread,)]
    with opened(next(data.glob("threadloom.db.replaced-*[0-9]"))) as old:
        assert old.execute("SELECT thread_id FROM threads").fetchall() == [(other,)]


def test_the_journal_of_a_vacuum_that_was_killed_is_not_taken_for_that_of_the_new(backed_up, tmp_path):
    """Though the database itself is gone: there is nobody left who would have used it up."""
    _, saved, thread = backed_up
    data, old = tmp_path / "data", tmp_path / "old.db"
    data.mkdir()
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.executemany("INSERT INTO other VALUES (?)", [("x" * 3000,)] * 200)
        connection.commit()
        connection.execute("PRAGMA cache_size = 1")  # so pages are written before the commit
        connection.execute("UPDATE other SET x = x || 'y'")
        (data / "threadloom.db-journal").write_bytes(old.with_name("old.db-journal").read_bytes())
    db("restore", saved, data=data)
    with opened(data / "threadloom.db") as connection:
        assert connection.execute("SELECT thread_id FROM threads").fetchall() == [(thread,)]
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    assert next(data.glob("threadloom.db.replaced-*-journal")).stat().st_size > 0


def test_a_holder_that_is_gone_does_not_keep_the_folder(backed_up, tmp_path):
    _, saved, _ = backed_up
    data = tmp_path / "data"
    data.mkdir()
    (data / "lock").write_text(str(os.getpid()))
    assert "is in place" in db("restore", saved, data=data)


async def test_a_log_is_kept_where_the_configuration_asks_for_it(tmp_path):
    config = json.loads((APP / "langgraph.json").read_text())
    app, data = tmp_path / "app", tmp_path / "data"
    app.mkdir()
    (app / "graphs.py").write_text((APP / "graphs.py").read_text())
    (app / "langgraph.json").write_text(json.dumps({**config, "threadloom": {"retention": {"logs_days": 3}}}))
    with running(app, data) as server:
        client = get_client(url=server.url)
        thread = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread, "fail", input={"messages": "x"}, raise_error=False)
    lines = [json.loads(line) for line in (data / "logs" / "threadloom.log").read_text().splitlines()]
    (failed,) = [line for line in lines if "planned failure" in line.get("exception", "")]
    assert failed["thread_id"] == thread
