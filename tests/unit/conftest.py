"""Holds the tests of this folder to what `make quick` promises: they need no server of any kind."""

import pytest

from tests import forkserver


def _refused():
    pytest.fail("tests/unit needs no server: such a test belongs into tests/contract")


postgres_uri = pytest.fixture(_refused, scope="session", name="postgres_uri")
redis_uri = pytest.fixture(_refused, scope="session", name="redis_uri")
redis_cluster_uri = pytest.fixture(_refused, scope="session", name="redis_cluster_uri")


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    def refuse(command, **_):
        raise AssertionError(f"a test in tests/unit starts {command}")

    monkeypatch.setattr(forkserver, "start", refuse)
