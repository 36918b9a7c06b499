"""SQLite's write-ahead log gives its room back when nothing is written, and that holds nobody up."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest

from threadloom.storage.sqlite import SqliteStorage, database, wal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(tmp_path):
    storage = SqliteStorage(tmp_path)
    await storage.open()
    yield storage
    await storage.close()


async def test_it_is_emptied_when_nothing_was_written_for_a_while(storage, tmp_path):
    await storage.write(lambda tx: tx.threads.set_error("none", None))
    [log] = tmp_path.glob("*-wal")
    assert log.stat().st_size > 0
    async with asyncio.timeout(60):
        while log.stat().st_size:
            await asyncio.sleep(0.05)


async def test_a_writer_that_comes_meanwhile_is_not_held_up(storage, monkeypatch):
    """Emptying the log waits for the disk with the writer's lock in hand, if there is something to be moved."""
    asked = []

    class Connection:
        def __init__(self, path, **options):
            self._real = sqlite3.connect(path, **options)

        def execute(self, query):
            asked.append(query)
            answer = self._real.execute(query)
            if "PASSIVE" in query and meanwhile:
                storage.database.submit(lambda connection: connection.execute("CREATE TABLE made (n)")).result(30)
            return answer

        def close(self):
            self._real.close()

    monkeypatch.setattr(wal, "sqlite3", SimpleNamespace(connect=Connection, Error=sqlite3.Error))
    for meanwhile in (True, False):
        asked.clear()
        await asyncio.to_thread(storage.database.log.move, empty=True)
        assert any("TRUNCATE" in query for query in asked) is not meanwhile


async def test_who_begins_it_anew_waits_for_the_disk_and_the_event_loop_does_not(storage, monkeypatch):
    monkeypatch.setattr(database, "IDLE_SECONDS", 600)

    def thread(_connection):
        return threading.current_thread().name

    here = threading.current_thread().name
    assert await storage.database.write(thread) == here
    await asyncio.to_thread(storage.database.log.move)
    assert await storage.database.write(thread) != here
    assert await storage.database.write(thread) == here


async def test_it_begins_anew_once_a_reader_that_was_in_the_way_has_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(wal, "LOG_BYTES", 200_000)
    storage = SqliteStorage(tmp_path)
    await storage.open()

    def insert(connection):
        connection.execute("INSERT INTO made VALUES (?)", ("x" * 10_000,))

    try:
        writer, log = storage.database, storage.database.log
        writer.submit(lambda connection: connection.execute("CREATE TABLE made (text)")).result(30)
        with contextlib.closing(sqlite3.connect(writer.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM made").fetchone()
            for _ in range(60):
                writer.submit(insert).result(30)
            assert log.size() > 600_000
        async with asyncio.timeout(60):
            while log.size() > 200_000:
                writer.submit(insert).result(30)
                await asyncio.sleep(0.01)
    finally:
        await storage.close()


async def test_it_begins_anew_though_long_reads_follow_each_other_without_a_gap(monkeypatch, tmp_path):
    monkeypatch.setattr(wal, "LOG_BYTES", 200_000)
    monkeypatch.setattr(wal, "URGENT_BYTES", 400_000)
    storage = SqliteStorage(tmp_path)
    await storage.open()
    writer, log = storage.database, storage.database.log
    reading = True

    def look(connection):
        connection.execute("SELECT count(*) FROM made").fetchone()
        time.sleep(0.03)

    async def read():
        while reading:
            await writer.read_in_thread(look)

    async def write(query, *values):
        await writer.write(lambda connection: connection.execute(query, values) and None)

    try:
        await write("CREATE TABLE made (text)")
        readers = [asyncio.create_task(read()) for _ in range(4)]
        largest = written = 0
        while written < 10_000_000:
            await write("INSERT INTO made VALUES (?)", "x" * 10_000)
            written += 10_000
            largest = max(largest, log.size())
            await asyncio.sleep(0.001)
        reading = False
        await asyncio.gather(*readers)
        assert largest < written / 2
    finally:
        await storage.close()


async def test_what_commits_wait_for_was_brought_to_the_disk_before_and_the_file_keeps_its_size(monkeypatch, tmp_path):
    monkeypatch.setattr(wal, "LOG_BYTES", 1_000_000)
    monkeypatch.setattr(wal, "LOOK_AGAIN_SECONDS", 0)
    storage = SqliteStorage(tmp_path)
    await storage.open()
    writer, log = storage.database, storage.database.log
    steps = []
    checkpoint, sync = wal._checkpoint, wal.WriteAheadLog._sync

    def noted(connection, mode):
        frames, moved = checkpoint(connection, mode)
        steps.append(("moved while commits wait" if held else "moved", moved))
        return frames, moved

    def synced(self):
        sync(self)
        steps.append(("synced", 0))

    held = []
    single_process = wal.WriteAheadLog._restart_alone

    def restarted(self, connection):
        held.append(True)
        try:
            return single_process(self, connection)
        finally:
            held.clear()

    monkeypatch.setattr(wal, "_checkpoint", noted)
    monkeypatch.setattr(wal.WriteAheadLog, "_sync", synced)
    monkeypatch.setattr(wal.WriteAheadLog, "_restart_alone", restarted)
    try:
        await writer.write(lambda connection: connection.execute("CREATE TABLE made (text)") and None)
        largest = anew = 0
        while anew < 3:
            await writer.write(
                lambda connection: connection.execute("INSERT INTO made VALUES (?)", ("x" * 10_000,)) and None
            )
            size = log.size()
            anew += size < largest
            largest = size if size < largest else max(largest, size)
            await asyncio.sleep(0)
        assert writer.path.with_name(writer.path.name + "-wal").stat().st_size > 1_000_000
        waited = [number for number, (what, _) in enumerate(steps) if what == "moved while commits wait"]
        assert waited
        for number in waited:
            if steps[number - 1][0] != "moved while commits wait":  # it tries again while readers end
                assert steps[number - 1][0] == "synced"
                assert steps[number][1] - steps[number - 2][1] <= 4 * wal.TAIL_FRAMES
    finally:
        await storage.close()


def test_a_file_of_an_earlier_log_is_not_taken_for_a_long_one(tmp_path, monkeypatch):
    monkeypatch.setattr(wal, "LOG_BYTES", 300_000)
    with contextlib.closing(sqlite3.connect(tmp_path / "own.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE made (n)")
        log = wal.WriteAheadLog(tmp_path / "own.db", threading.Lock())
        for _ in range(2):
            told = []
            for _ in range(60):
                connection.execute("INSERT INTO made VALUES (zeroblob(8000))")
                told.append(log.is_long())
                assert told[-1] is (log.size() > wal.LOG_BYTES)
            assert told[0] is False
            assert told[-1] is True
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
        log.close()
