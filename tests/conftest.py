"""What all tests share."""

import pytest

from tests import postgres_server, redis_server


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
    with postgres_server.running() as server:
        yield server.uri
