"""A whole server in the process of the test, on a real database."""

import contextlib

import httpx

from tests.clocks import SettableClock
from threadloom.config import load
from threadloom.wiring import Server


@contextlib.asynccontextmanager
async def serving(app, where, folder, **env):
    """A server of an app, a client of it, and its clock, which can be set.

    Args:
        where: variables that say where the database is; none for SQLite in `folder`.
        env: further variables.
    """
    clock = SettableClock()
    settings = load(app, {**env, **where}, {} if where else {"data": folder})
    server = Server(settings, clock=clock, grace=0)
    assert (server.settings.postgres_uri is None) == (not where)
    async with server.live():
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield server, client, clock
