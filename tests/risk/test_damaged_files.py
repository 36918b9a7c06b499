"""Damaged files at start: a clear message and nothing destroyed, or the server starts with all that is whole."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.server import free_port, running
from threadloom.errors import StartError, StorageError
from threadloom.storage.sqlite import SqliteStorage
from threadloom.storage.threads import ThreadQuery

APP = Path(__file__).parents[1] / "apps" / "risk"
THREADS = 20
DATABASE, LOG, INDEX = "threadloom.db", "threadloom.db-wal", "threadloom.db-shm"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data folder as a server leaves it that was `killed`, and one as it leaves it that was `stopped`."""
    root = tmp_path_factory.mktemp("folders")
    with running(APP, root / "stopped") as server:
        for _ in range(THREADS):
            httpx.post(f"{server.url}/threads", json={"metadata": {"text": "x" * 3000}}).raise_for_status()
        shutil.copytree(root / "stopped", root / "killed")
        assert server.stop() == 0
    assert (root / "killed" / LOG).stat().st_size > 0
    return {name: root / name for name in ("stopped", "killed")}


def cut(file: Path, part: float) -> None:
    os.truncate(file, int(file.stat().st_size * part) + 13)


def other_application(folder: Path, version: int) -> None:
    (folder / DATABASE).unlink()
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.executescript(
            f"CREATE TABLE users (name); INSERT INTO users VALUES ('a'); PRAGMA user_version = {version}"
        )


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


Damage = Callable[[Path], object]

REFUSED: dict[str, tuple[str, Damage, str]] = {
    "truncated": ("stopped", lambda folder: cut(folder / DATABASE, 0.5), "malformed"),
    "only its head": ("stopped", lambda folder: os.truncate(folder / DATABASE, 100), "malformed"),
    "noise": ("stopped", lambda folder: (folder / DATABASE).write_bytes(os.urandom(100_000)), "not a database"),
    "text": ("stopped", lambda folder: (folder / DATABASE).write_text("hello"), "not a database"),
    "of another application": ("stopped", lambda folder: other_application(folder, 0), "another application"),
    "of another, with versions": ("stopped", lambda folder: other_application(folder, 3), "another application"),
    "a folder": ("stopped", lambda folder: directory(folder / DATABASE), "unable to open"),
}

OPENED: dict[str, tuple[str, Damage, bool]] = {
    "an empty file": ("stopped", lambda folder: os.truncate(folder / DATABASE, 0), False),
    "half a log": ("killed", lambda folder: cut(folder / LOG, 0.5), False),
    "noise for a log": ("killed", lambda folder: (folder / LOG).write_bytes(os.urandom(50_000)), False),
    "no log": ("killed", lambda folder: (folder / LOG).unlink(), False),
    "no index of the log": ("killed", lambda folder: (folder / INDEX).unlink(), True),
    "noise for an index": ("killed", lambda folder: (folder / INDEX).write_bytes(os.urandom(32_768)), True),
}
"""With what the damage leaves whole: `True` for everything."""


@pytest.fixture
def damaged(folders: dict[str, Path], tmp_path: Path) -> Iterator[Callable[[str, Damage], Path]]:
    def make(kind: str, damage: Damage) -> Path:
        folder = tmp_path / "data"
        shutil.copytree(folders[kind], folder)
        damage(folder)
        return folder

    yield make


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != "lock"}


async def count(folder: Path) -> int:
    storage = SqliteStorage(folder)
    await storage.open()
    try:
        return await storage.read(lambda tx: tx.threads.count(ThreadQuery()))
    finally:
        await storage.close()


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_it_is(damaged: Callable[[str, Damage], Path], name: str) -> None:
    kind, damage, text = REFUSED[name]
    folder = damaged(kind, damage)
    before = contents(folder)
    with pytest.raises((StorageError, StartError), match=text) as refused:
        asyncio.run(count(folder))
    assert str(folder / DATABASE) in str(refused.value)
    assert contents(folder) == before


@pytest.mark.parametrize("name", OPENED)
def test_opened(damaged: Callable[[str, Damage], Path], name: str) -> None:
    kind, damage, whole = OPENED[name]
    folder = damaged(kind, damage)
    found = asyncio.run(count(folder))
    assert found == THREADS if whole else 0 <= found < THREADS
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_server_says_so_and_ends(damaged: Callable[[str, Damage], Path]) -> None:
    kind, damage, text = REFUSED["truncated"]
    folder = damaged(kind, damage)
    command = [sys.executable, "-m", "threadloom", "dev", "--config", str(APP / "langgraph.json"), "--no-reload"]
    command += ["--no-browser", "--data", str(folder), "--port", str(free_port())]
    done = forkserver.run(command, timeout=120)
    assert done.returncode == 1
    assert str(folder / DATABASE) in done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
