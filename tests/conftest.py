"""What all tests share. One suite, many implementations: every test that takes `storage` runs on each storage there is."""

import functools
import os
import signal

import httpx
import pytest
from httpx import create_ssl_context

from tests import postgres_server, redis_server
from tests.estate import Estate
from tests.storages import KINDS, opened
from tests.users import User

# A shell that starts the tests in its background has them ignore Ctrl-C, and so would the servers that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where a test says nothing of how long an answer may take: httpx's five seconds are too few on a machine that has much to do.
for call in (httpx.Client.__init__, httpx.AsyncClient.__init__, httpx.get, httpx.post, httpx.delete, httpx.request):
    call.__kwdefaults__["timeout"] = httpx.Timeout(120)


@functools.cache
def certificates(*where):
    """The TLS context of clients that were told nothing of it. To make one takes 40 ms, which thousands of clients would."""
    return create_ssl_context()


def shared_certificates(verify=True, cert=None, trust_env=True):
    if verify is not True or cert is not None or not trust_env:
        return create_ssl_context(verify, cert, trust_env)
    return certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


httpx._transports.default.create_ssl_context = shared_certificates

LONGEST_FIRST = (("browser", "contract", "harness", "risk"), ("wire",), ("docs", "unit"))
"""The folders in the order in which several processes begin with their files. Those of a group take turns: some keep a processor
busy, others wait for their servers. Short ones come last, so that all processes end at the same time."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Has several processes begin with what takes long."""
    if not hasattr(config, "workerinput"):
        return
    files = {folder: {} for group in LONGEST_FIRST for folder in group}
    for item in items:
        folder = item.path.relative_to(config.rootpath / "tests").parts[0]
        files.setdefault(folder, {}).setdefault(item.path, len(files[folder]))
    rank = {folder: number for number, group in enumerate(LONGEST_FIRST) for folder in group}

    def place(item):
        folder = item.path.relative_to(config.rootpath / "tests").parts[0]
        return rank.get(folder, 0), files[folder][item.path] / len(files[folder])

    items.sort(key=place)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def redis_uri(tmp_path_factory):
    """A Redis that the tests of this process share."""
    with redis_server.running(tmp_path_factory.mktemp("redis")) as server:
        yield server.uri


@pytest.fixture(scope="session")
def redis_cluster_uri(tmp_path_factory):
    """A Redis cluster that the tests of this process share."""
    with redis_server.running(tmp_path_factory.mktemp("redis-cluster"), cluster=True) as server:
        yield server.uri


@pytest.fixture(scope="session")
def postgres_uri():
    """A PostgreSQL that the tests of this process share."""
    # What the database does by itself now and then would be counted, and would change plans, in the midst of a test.
    with postgres_server.running("-c", "autovacuum=off") as server:
        yield server.uri


@pytest.fixture
def cipher():
    """What seals the storage. A module that is to pass on sealed storages too has a fixture of this name with `CIPHERS`."""
    return "plain"


@pytest.fixture(params=KINDS)
async def storage(request, tmp_path, cipher):
    """An open, empty storage of each kind."""
    async with opened(request.param, request, tmp_path / "data", cipher) as storage:
        yield storage


@pytest.fixture
def database(postgres_uri):
    """The address of a database of the test's own."""
    with postgres_server.database_in(postgres_uri) as uri:
        yield uri


# --- a server of `tests/apps/auth`, which a module starts as its fixture `server` ---


@pytest.fixture
async def people(server):
    """Makes users; `people("ann", rules=…)`."""
    made = []

    def make(name, **more):
        made.append(User(server.url, name, **more))
        return made[-1]

    yield make
    for user in made:
        await user.close()


@pytest.fixture
def bob(people):
    return people("bob")


@pytest.fixture(scope="module")
async def estate(server):
    ann = User(server.url, "ann")
    yield await Estate(ann).fill()
    await ann.close()
