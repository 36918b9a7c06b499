"""What requests cost, counted in a whole server: statements on SQLite, round trips to PostgreSQL, encodings of values."""

import contextlib
import sqlite3
from pathlib import Path

import asyncpg
import httpx
import msgspec
import orjson
import pytest

from tests.storages import KINDS
from threadloom.config import load
from threadloom.wiring import Server

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "threads" / "langgraph.json"
MOST = {
    "sqlite": {"create": 1, "run": 50, "stateless": 17, "copy": 7},
    "postgres": {"create": 3, "run": 31, "stateless": 34, "copy": 7},
}
"""None of these may grow without a reason."""


class Counted(sqlite3.Connection):
    """Counts what is executed, but for what frames a transaction."""

    statements = 0

    def execute(self, sql, *values):
        Counted.statements += sql.split(None, 1)[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
        return super().execute(sql, *values)

    def executemany(self, sql, rows):
        Counted.statements += 1
        return super().executemany(sql, rows)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def where(request, kind):
    """What the environment says of the database."""
    return {} if kind == "sqlite" else {"DATABASE_URI": request.getfixturevalue("database")}


@pytest.fixture
def statements(kind, monkeypatch):
    """Gives how many there were so far."""
    if kind == "sqlite":
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, **more | {"factory": Counted}))
        return lambda: Counted.statements
    trips = []

    def noted(method):
        async def run(connection, query, *values, **more):
            trips.append(query)
            return await method(connection, query, *values, **more)

        return run

    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, noted(getattr(asyncpg.Connection, name)))
    return lambda: len(trips)


@contextlib.asynccontextmanager
async def serving(where, folder, **own):
    settings = load(APP, where, {} if where else {"data": folder})
    settings = msgspec.structs.replace(settings, threadloom=msgspec.structs.replace(settings.threadloom, **own))
    server = Server(settings, grace=0)
    async with server.live():
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield client


async def test_no_request_costs_more_than_it_did(kind, where, statements, tmp_path):
    """The least of some: a server has more to do than to answer. Forks are isolated: where there are none, that costs nothing."""

    async def least(path, **body):
        counts = []
        for _ in range(24):  # on a busy machine a response may be read from the database instead of from memory
            before = statements()
            (await client.post(path, json=body)).raise_for_status()
            counts.append(statements() - before)
        return min(counts)

    async with serving(where, tmp_path, isolate_forks=True) as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        run = {"assistant_id": "chain", "input": {"x": 0}}
        counted = {
            "create": await least("/threads"),
            "run": await least(f"/threads/{thread}/runs/wait", **run),
            "stateless": await least("/runs/wait", **run),
            "copy": await least(f"/threads/{thread}/copy"),
        }
    assert {what: (count, MOST[kind][what]) for what, count in counted.items() if count > MOST[kind][what]} == {}


async def test_the_values_of_a_run_are_encoded_once_for_all_who_get_them(monkeypatch, tmp_path):
    """The last event of the stream, the thread's record and the output show the same values."""
    encoded, dumps = [], orjson.dumps

    def noted(value, *args, **more):
        if isinstance(value, dict) and value.keys() == {"path", "x"}:
            encoded.append(value)
        return dumps(value, *args, **more)

    async with serving({}, tmp_path) as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        run = {"assistant_id": "chain", "input": {"x": 0, "path": []}}
        monkeypatch.setattr(orjson, "dumps", noted)
        await client.post(f"/threads/{thread}/runs/wait", json=run)
        assert len(encoded) == 1
        encoded.clear()
        stream = await client.post(f"/threads/{thread}/runs/stream", json={**run, "stream_mode": ["values"]})
        assert len(encoded) == stream.text.count("event: values") == 4
        monkeypatch.undo()
        assert (await client.get(f"/threads/{thread}")).json()["values"] == encoded[-1]
