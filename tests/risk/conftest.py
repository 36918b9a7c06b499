"""What the risk tests share."""

import asyncio

import pytest
from langgraph_sdk import get_client

from tests.risk import asking
from tests.savers import SAVERS, saver_of
from tests.server import Server
from tests.storages import KINDS, emptied, opened
from threadloom.storage.postgres import PostgresStorage


@pytest.fixture(params=KINDS)
async def storage(request, tmp_path):
    """An open, empty storage of each kind."""
    async with opened(request.param, request, tmp_path) as storage:
        yield storage


@pytest.fixture(params=SAVERS)
async def saver(storage, request):
    async with saver_of(storage, request.param) as saver:
        yield saver


@pytest.fixture(scope="module")
def asking_servers(request, tmp_path_factory):
    """Starts a server of `tests/apps/answers` on a kind of storage, once."""
    folder = tmp_path_factory.mktemp("asking")
    (folder / "failed").mkdir()
    env = {"ANSWERS_FAILED": str(folder / "failed")}
    started = {}

    def server(kind):
        if kind not in started:
            if kind == "sqlite":
                started[kind] = Server(asking.APP, folder / "data", env=env)
            else:
                uri = request.getfixturevalue("postgres_uri")
                asyncio.run(emptied(PostgresStorage(uri)))
                shared = env | {"DATABASE_URI": uri}
                started[kind] = Server(asking.APP, None, env=shared, verb="serve", log=folder / "log")
            started[kind].start()
        return started[kind]

    yield server
    for one in started.values():
        one.kill()


@pytest.fixture
def url(asking_servers, request):
    """Where graphs are served that ask."""
    return asking_servers(getattr(request, "param", "sqlite")).url


@pytest.fixture
def client(url):
    return get_client(url=url)
