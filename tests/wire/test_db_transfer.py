"""`threadloom db migrate`, `check` and `copy` on PostgreSQL, as an operator uses them."""

import json
import os
import sys
import uuid

import asyncpg
import pytest
from langgraph_sdk import get_client

from tests import forkserver
from tests.server import Server, running
from tests.wire.test_db import APP

pytestmark = pytest.mark.anyio


@pytest.fixture
async def uri(postgres_uri):
    name = f"cli_{uuid.uuid4().hex}"
    server = await asyncpg.connect(postgres_uri)
    await server.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_uri.rpartition('/')[0]}/{name}"
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


def db(*words, uri=None, status=0, **variables):
    """Runs a verb; gives what it printed."""
    command = [sys.executable, "-m", "threadloom", "db", *map(str, words)]
    env = {**os.environ, **({} if uri is None else {"DATABASE_URI": uri}), **variables}
    done = forkserver.run(command, timeout=60, cwd=APP, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


async def spoil(uri, statement):
    connection = await asyncpg.connect(uri)
    await connection.execute(statement)
    await connection.close()


async def test_migrating_says_what_it_did(uri):
    assert "holds nothing of Threadloom's" in db("check", uri=uri, status=1)
    made = db("migrate", uri=uri)
    assert "the tables were made, schema " in made
    assert "postgres@" not in made, "who may come in is not shown"
    assert "is up to date: schema " in db("migrate", uri=uri)
    assert "No damage was found." in db("check", uri=uri)


async def test_damage_is_found(uri):
    db("migrate", uri=uri)
    await spoil(uri, "INSERT INTO threadloom.writes VALUES (1, 99, '', 'c', 't', 0, 'x', NULL, 'json', '', '')")
    await spoil(uri, "INSERT INTO threadloom.former_heads VALUES (1, 't@1', 't', NULL, 0, 'reset', '{}')")
    await spoil(uri, "INSERT INTO threadloom.tags VALUES ('t', 'kept', 'nowhere', 0, 0)")
    told = db("check", uri=uri, status=1)
    assert "1 pending writes of no segment" in told
    assert "1 former heads that point nowhere" in told and "1 tags that point nowhere" in told


async def test_what_is_the_databases_own_affair_is_refused(uri, tmp_path):
    assert "pg_dump" in db("backup", tmp_path / "x.db", uri=uri, status=2)
    assert "pg_dump" in db("vacuum", uri=uri, status=2)


async def test_a_folder_is_moved_to_postgresql_and_back(uri, tmp_path):
    first, last = tmp_path / "first", tmp_path / "last"
    with running(APP, first) as server:
        client = get_client(url=server.url)
        thread = (await client.threads.create(metadata={"mark": "moved"}))["thread_id"]
        await client.runs.wait(thread, "chat", input={"messages": "before"})
        copy = (await client.threads.copy(thread))["thread_id"]
        expected = [await client.threads.get_history(one) for one in (thread, copy)]
        refused = db("copy", "--from", f"sqlite:{first}", "--to", uri, status=1)
        assert "in use by another process" in refused
        server.stop()
    assert "is the same" in db("copy", "--from", f"sqlite:{first}", "--to", uri)
    assert "No damage" in db("check", uri=uri)
    assert "only copied to where nothing is" in db("copy", "--from", f"sqlite:{first}", "--to", uri, status=1)
    assert "is the same" in db("copy", "--from", uri, "--to", f"sqlite:{last}")
    with running(APP, last) as server:
        client = get_client(url=server.url)
        assert json.dumps([await client.threads.get_history(one) for one in (thread, copy)]) == json.dumps(expected)
        [found] = [one for one in await client.threads.search(metadata={"mark": "moved"}) if one["thread_id"] == thread]
        assert found["status"] == "idle"
        await client.runs.wait(copy, "chat", input={"messages": "after"})
        assert json.dumps(await client.threads.get_history(thread)) == json.dumps(expected[0])


KEYS = {"LANGGRAPH_AES_KEY": "a new key of 24 letters.", "LANGGRAPH_AES_KEY_OLD": "another key of 24 letter"}
"""What a server and `db rekey` are told when the key changes."""


async def told_in_clear(uri, word):
    """The tables of a database that hold a word as it is."""
    connection = await asyncpg.connect(uri)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'threadloom'")
    found = [
        table
        for (table,) in tables
        if await connection.fetchval(
            f"SELECT EXISTS (SELECT 1 FROM threadloom.{table} t WHERE position($1 IN t::text) > 0"
            f" OR position($2 IN t::text) > 0)",
            word,
            word.encode().hex(),
        )
    ]
    await connection.close()
    return found


async def test_keys_are_changed_when_no_server_runs(uri, tmp_path):
    old, new = {"LANGGRAPH_AES_KEY": KEYS["LANGGRAPH_AES_KEY_OLD"]}, {"LANGGRAPH_AES_KEY": KEYS["LANGGRAPH_AES_KEY"]}

    def server(env):
        return Server(APP, None, env={"DATABASE_URI": uri, **env}, verb="serve", log=tmp_path / "log")

    serving = server({}).start()
    try:
        client = get_client(url=serving.url)
        thread = (await client.threads.create(metadata={"mark": "kept"}))["thread_id"]
        await client.runs.wait(thread, "chat", input={"messages": "whispered"})
        expected = await client.threads.get_history(thread)
        told = db("rekey", uri=uri, status=1, **old)
        assert "Servers are connected to the database" in told and "stop them first" in told
    finally:
        serving.kill()
    assert await told_in_clear(uri, "whispered")
    changed = db("rekey", uri=uri, **old)
    assert "places were written anew" in changed and "VACUUM FULL" in changed
    assert await told_in_clear(uri, "whispered") == []
    assert "is not the key" in db("rekey", uri=uri, status=2, **new)
    assert "places were written anew" in db("rekey", uri=uri, **KEYS)
    assert db("rekey", uri=uri, **KEYS).startswith("0 places")
    assert db("check", uri=uri, **new).endswith("No damage was found.\n")
    for other, why in (({}, "LANGGRAPH_AES_KEY is not set"), (old, "LANGGRAPH_AES_KEY is not the key")):
        told = db("check", uri=uri, **other)
        assert f"Not looked into: encrypted content: {why}" in told
        assert told.endswith("No damage was found in what was looked into.\n")
    await spoil(uri, "UPDATE threadloom.writes SET data = set_byte(data, 30, 255 - get_byte(data, 30))")
    told = db("check", uri=uri, status=1, **new)
    assert "values of writes.data cannot be decrypted" in told
    await spoil(uri, "UPDATE threadloom.writes SET data = set_byte(data, 30, 255 - get_byte(data, 30))")
    serving = server(new).start()
    try:
        assert await get_client(url=serving.url).threads.get_history(thread) == expected
    finally:
        serving.kill()
    assert "places were written anew" in db(
        "rekey", "--decrypt", uri=uri, LANGGRAPH_AES_KEY_OLD=KEYS["LANGGRAPH_AES_KEY"]
    )
    assert await told_in_clear(uri, "whispered")


async def test_a_database_in_use_is_copied_only_when_told_so(uri, tmp_path):
    serving = Server(APP, None, env={"DATABASE_URI": uri}, verb="serve", log=tmp_path / "log").start()
    try:
        client = get_client(url=serving.url)
        thread = (await client.threads.create(metadata={"mark": "moved"}))["thread_id"]
        target = tmp_path / "target"
        assert "stop them first" in db("copy", "--from", uri, "--to", f"sqlite:{target}", status=1)
        assert not (target / "threadloom.db").exists()
        assert "is the same" in db("copy", "--live", "--from", uri, "--to", f"sqlite:{target}")
    finally:
        serving.kill()
    assert "is the same" in db("copy", "--from", uri, "--to", f"sqlite:{tmp_path / 'other'}")
    with running(APP, target) as server:
        assert (await get_client(url=server.url).threads.get(thread))["metadata"] == {"mark": "moved"}


def test_a_place_that_cannot_be_is_refused(tmp_path):
    assert "--to mysql://x: must be" in db("copy", "--from", f"sqlite:{tmp_path}", "--to", "mysql://x", status=2)
    nowhere = "postgresql://127.0.0.1:9/none"
    assert "cannot be reached" in db("copy", "--from", nowhere, "--to", f"sqlite:{tmp_path}", status=1)
