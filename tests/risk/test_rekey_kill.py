"""kill -9 while keys are changed: both keys together read everything, neither alone is accepted, and a second try ends it."""

import asyncio
import base64
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from tests import forkserver
from threadloom import maintenance
from threadloom.checkpointer import Saver
from threadloom.config import Environment
from threadloom.encryption.aes import Key
from threadloom.encryption.keys import Keys, check_keys
from threadloom.encryption.storage import SealedStorage
from threadloom.errors import ConfigError
from threadloom.storage.sqlite import SqliteStorage
from threadloom.types import Event

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).parents[1] / "apps" / "sealed" / "langgraph.json"
ONE, TWO = "first key, 16 b.", "second key of 24 bytes !"
EVENTS = 20_000


async def opened(data, keys):
    storage = SqliteStorage(data)
    await storage.open()
    try:
        await check_keys(storage, keys)
    except BaseException:
        await storage.close()
        raise
    return SealedStorage(storage, keys.cipher())


async def read_all(storage):
    found, after = [], (-1, 0)
    while page := await storage.read(lambda tx: tx.events.of_thread("t", after=after)):  # noqa: B023
        found += [event.data for event in page]
        after = (page[-1].ms, page[-1].n)
    saved = await Saver(storage).aget_tuple({"configurable": {"thread_id": "t"}})
    return found, saved.checkpoint["channel_values"]


def rekeying(data):
    env = {**os.environ, "LANGGRAPH_AES_KEY": TWO, "LANGGRAPH_AES_KEY_OLD": ONE}
    command = [sys.executable, "-m", "threadloom", "db", "rekey", "--config", str(CONFIG), "--data", str(data)]
    with data.with_suffix(".log").open("ab") as log:
        return forkserver.start(command, env=env, output=log.fileno())


def resealed(data):
    """How many events are sealed with the second key."""
    with sqlite3.connect(data / "threadloom.db", timeout=5) as connection:
        return sum(_of_second_key(row[0]) for row in connection.execute("SELECT data FROM events"))


def begun(data):
    """Whether the first event is sealed with the second key."""
    with sqlite3.connect(data / "threadloom.db", timeout=5) as connection:
        return _of_second_key(connection.execute("SELECT data FROM events ORDER BY seq LIMIT 1").fetchone()[0])


def _of_second_key(text):
    return base64.b64decode(text[len('"encrypted.aes:') : -1])[1:5] == Key(TWO).id


async def test_a_change_of_keys_that_was_cut_off_loses_nothing(tmp_path):
    data = tmp_path / "data"
    storage = await opened(data, Keys(key=Key(ONE)))
    events = [Event(thread_id="t", run_id="r", name="n", data=b'{"n":%d}' % n, ms=n, n=0) for n in range(EVENTS)]
    await storage.write(lambda tx: tx.events.append(events))
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    checkpoint = {"v": 1, "id": "1", "ts": "", "channel_values": {"a": ["x" * 500]}, "channel_versions": {"a": "1"}}
    await Saver(storage).aput(config, {**checkpoint, "versions_seen": {}}, {"source": "input"}, {"a": "1"})
    before = await read_all(storage)
    assert len(before[0]) == EVENTS
    await storage.close()

    process = rekeying(data)
    deadline = time.monotonic() + 60
    while not begun(data):
        assert process.poll() is None and time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < resealed(data) < EVENTS

    for keys in (Keys(key=Key(ONE)), Keys(key=Key(TWO)), Keys()):
        with pytest.raises(ConfigError):
            await opened(data, keys)
    storage = await opened(data, Keys(key=Key(TWO), old=Key(ONE)))
    assert await read_all(storage) == before
    await storage.close()

    assert rekeying(data).wait() == 0
    assert resealed(data) == EVENTS
    found = await asyncio.to_thread(maintenance.check, data, Environment(langgraph_aes_key=TWO), lambda part: None)
    assert (found.faults, found.left_out) == ([], [])
    found = await asyncio.to_thread(maintenance.check, data, Environment(langgraph_aes_key=ONE), lambda part: None)
    [left_out] = found.left_out
    assert left_out.startswith("encrypted content: LANGGRAPH_AES_KEY is not the key")
    storage = await opened(data, Keys(key=Key(TWO)))
    assert await read_all(storage) == before
    await storage.close()
