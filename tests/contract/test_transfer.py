"""Everything moved from one kind of storage to another, and back: the same rows, the same sharing, and it goes on from there."""

import contextlib
import itertools
import sqlite3
import uuid

import asyncpg
import pytest

from tests.contract.conftest import LineageTables
from tests.contract.test_ciphertexts import filled
from tests.contract.versions_model import Conversations
from tests.storages import rows_of
from threadloom.checkpointer import Saver
from threadloom.encryption.aes import AesCipher, Key
from threadloom.encryption.keys import Keys, check_keys
from threadloom.encryption.rekey import rekey
from threadloom.encryption.storage import SealedStorage
from threadloom.errors import StorageError
from threadloom.storage import transfer
from threadloom.storage.filters import Equals
from threadloom.storage.lineage import Blob, CheckpointPut
from threadloom.storage.postgres import PostgresStorage
from threadloom.storage.postgres import transfer as postgres
from threadloom.storage.sqlite import SqliteStorage
from threadloom.storage.sqlite import transfer as sqlite
from threadloom.storage.threads import ThreadQuery
from threadloom.types import Event

pytestmark = pytest.mark.anyio


@pytest.fixture
async def uri(postgres_uri):
    """An empty database of its own."""
    name = f"moved_{uuid.uuid4().hex}"
    server = await asyncpg.connect(postgres_uri)
    await server.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_uri.rpartition('/')[0]}/{name}"
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@contextlib.asynccontextmanager
async def opened(storage):
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


def silent(part):
    pass


def put(storage, thread_id, checkpoint_id, parent=None):
    blob = Blob(storage.new_blob_id(), "bytes", checkpoint_id.encode() * 100)
    return CheckpointPut(
        thread_id=thread_id,
        namespace="",
        checkpoint_id=checkpoint_id,
        parent=parent,
        body_type="json",
        body=b"{}",
        refs={"ä\0": blob.id},
        blobs=[blob],
        meta=b'{"step":1,"word":"\\u0000"}',
        small={"x": 3},
    )


async def fill(storage):
    await filled(storage)

    async def work(tx):
        await tx.lineage.put(put(storage, "t", "2"))
        await tx.lineage.copy("t", "copy")
        await tx.lineage.put(put(storage, "copy", "3", "2"))
        await tx.events.append([Event(thread_id="t", run_id="v", name="values", mode="v2", data=b"1", ms=9)])
        await tx.events.delete_of_run("v")

    await storage.write(work)


async def seen(storage):
    """What a reader sees of everything that was filled in."""

    async def work(tx):
        return (
            await tx.threads.search(ThreadQuery(where=Equals("word", "clear"))),
            await tx.lineage.history("t"),
            await tx.lineage.history("copy"),
            [await tx.runs.active(thread_id) for thread_id in await tx.runs.busy_threads()],
            await tx.runs.outcome("r"),
            await tx.events.of_thread("t"),
            await tx.events.floor("t"),
            await tx.assistants.get("a"),
            await tx.assistants.versions("a"),
            await tx.crons.get("c"),
            await tx.deliveries.get("d"),
        )

    return await storage.read(work)


async def to_postgres(folder, uri):
    with sqlite.dumping(folder) as source:
        async with postgres.filling(uri) as target:
            return await transfer.transfer(source, target, silent)


async def to_sqlite(uri, folder):
    async with postgres.dumping(uri) as source:
        with sqlite.filling(folder) as target:
            return await transfer.transfer(source, target, silent)


async def test_there_and_back_everything_is_the_same(uri, tmp_path):
    first, last = tmp_path / "first", tmp_path / "last"
    async with opened(SqliteStorage(first)) as storage:
        await fill(storage)
        expected = await seen(storage)
    there = await to_postgres(first, uri)
    async with opened(PostgresStorage(uri)) as storage:
        assert await seen(storage) == expected
    back = await to_sqlite(uri, last)
    async with opened(SqliteStorage(last)) as storage:
        assert await seen(storage) == expected
    assert {name: one.digest for name, one in there.items()} == {name: one.digest for name, one in back.items()}
    assert there["segments"].rows == 3, "the copy and a former head are segments of their own, and share the rest"
    assert there["checkpoints"].rows < len(expected[1]) + len(expected[2])


async def test_what_was_moved_goes_on(uri, tmp_path):
    async with opened(SqliteStorage(tmp_path)) as storage:
        await fill(storage)
        newest = max(row.pos for row in (await seen(storage))[2])
    await to_postgres(tmp_path, uri)
    async with opened(PostgresStorage(uri)) as storage:
        await storage.write(lambda tx: tx.lineage.put(put(storage, "copy", "4", "3")))
        latest = await storage.read(lambda tx: tx.lineage.latest("copy", ""))
        assert (latest.checkpoint_id, latest.pos > newest) == ("4", True)
        assert [one.run_id for one in await storage.write(lambda tx: tx.runs.claim("w", 2**60, 2**61, 5))] == ["r"]
        [stored] = await storage.write(
            lambda tx: tx.events.append([Event(thread_id="t", run_id="r", name="values", data=b"1", ms=10)])
        )
        assert stored.seq == 5
        await storage.write(lambda tx: tx.lineage.delete("t"))
        assert [row.checkpoint_id for row in await storage.read(lambda tx: tx.lineage.history("copy"))][:2] == [
            "4",
            "3",
        ]


async def test_nothing_is_copied_to_where_something_is(uri, tmp_path):
    async with opened(SqliteStorage(tmp_path / "a")) as storage:
        await fill(storage)
    await to_postgres(tmp_path / "a", uri)
    with pytest.raises(StorageError, match="only copied to where nothing is"):
        await to_postgres(tmp_path / "a", uri)
    with pytest.raises(StorageError, match="only copied to where nothing is"):
        await to_sqlite(uri, tmp_path / "a")


async def test_what_fails_in_the_middle_leaves_nothing(uri, tmp_path, monkeypatch):
    async with opened(SqliteStorage(tmp_path / "a")) as storage:
        await fill(storage)

    async def break_off(self, numbers):
        raise RuntimeError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(postgres.PostgresFill, "end", break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            await to_postgres(tmp_path / "a", uri)
    await to_postgres(tmp_path / "a", uri)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite.SqliteFill, "end", break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            await to_sqlite(uri, tmp_path / "b")
    assert [file.name for file in (tmp_path / "b").iterdir()] == ["lock"]


async def test_every_table_and_column_is_moved(uri, tmp_path):
    """A column that a later migration adds has to be added to what is moved."""
    async with opened(SqliteStorage(tmp_path)):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "threadloom.db")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for table in tables
            if not table.startswith("sqlite_")
        }
    names = {sqlite.NAMES.get(table, table): set(columns) for table, columns in transfer.TABLES.items()}
    names["runs"].add("ready")  # follows from the others
    own = {"positions", "fences", "migrations"}
    assert {table: columns for table, columns in found.items() if table not in own} == names

    async with opened(PostgresStorage(uri)):
        pass
    server = await asyncpg.connect(uri)
    rows = await server.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'threadloom'"
    )
    await server.close()
    here = {}
    for table, column in rows:
        here.setdefault(table, set()).add(column)
    known = {
        table: {*columns, *postgres.DERIVED.get(table, ())}
        for table, columns in transfer.TABLES.items()
        if table not in ("checkpoints", "floors")
    }
    known["runs"] |= {"ready"}
    known["checkpoints"] = set(postgres.READ["checkpoints"].split(", "))
    known["event_logs"] = {"thread_id", "seq", "ms", "n", "floor"}
    own = {"migrations", "dead_segments"}
    assert {table: columns for table, columns in here.items() if table not in own} == known


async def test_versions_of_values_outlive_moves_and_new_keys(uri, tmp_path):
    """Operations on a file, then on a database that it is copied to, then on a file again; the key changes in between."""
    conversations = Conversations(5)
    keys = [Key("first key, 16 b."), Key("second key of 24 bytes !"), Key("another key of all 32 bytes here")]
    steps = itertools.count()

    async def use(storage, cipher):
        conversations.over(SealedStorage(storage, cipher))
        for step in itertools.islice(steps, 40):
            await conversations.step(step)
        await conversations.check()
        LineageTables(storage).check()

    async def seal_anew(storage, old, new):
        conversations.over(SealedStorage(storage, AesCipher(old)))
        await conversations.check()
        await check_keys(storage, Keys(key=new, old=old))
        await rekey(storage, Keys(key=new, old=old), silent)
        await use(storage, AesCipher(new))

    first, last = tmp_path / "first", tmp_path / "last"
    async with opened(SqliteStorage(first)) as storage:
        await check_keys(storage, Keys(key=keys[0]))
        await use(storage, AesCipher(keys[0]))
    await to_postgres(first, uri)
    async with opened(PostgresStorage(uri)) as storage:
        await seal_anew(storage, keys[0], keys[1])
    await to_sqlite(uri, last)
    async with opened(SqliteStorage(last)) as storage:
        await seal_anew(storage, keys[1], keys[2])
        assert rows_of(storage, "SELECT count(*) FROM blobs WHERE base IS NOT NULL")[0][0] > 0
        for thread in conversations.threads:
            await Saver(storage).adelete_thread(thread)
        assert set(LineageTables(storage).counts().values()) == {0}
