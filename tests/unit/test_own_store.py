"""A store that the user brings in place of ours."""

import contextlib

import pytest
from langgraph.store.memory import InMemoryStore

from threadloom.errors import ConfigError
from threadloom.graphs.own_store import own_store

pytestmark = pytest.mark.anyio

LEFT = []


def function():
    return InMemoryStore()


async def waiting():
    return InMemoryStore()


@contextlib.contextmanager
def managed():
    yield InMemoryStore()
    LEFT.append("managed")


@contextlib.asynccontextmanager
async def managed_async():
    yield InMemoryStore()
    LEFT.append("managed_async")


class Managed(InMemoryStore):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        LEFT.append("Managed")


@pytest.mark.parametrize(
    "found, left",
    [
        (InMemoryStore(), []),
        (InMemoryStore, []),
        (function, []),
        (waiting, []),
        (managed, ["managed"]),
        (managed_async, ["managed_async"]),
        (managed_async(), ["managed_async"]),
        (Managed(), ["Managed"]),
    ],
)
async def test_a_store_is_found_and_left(found, left):
    LEFT.clear()
    async with own_store("./store.py:s", lambda spec: found) as store:
        await store.aput(("a",), "k", {"n": 1})
        assert (await store.aget(("a",), "k")).value == {"n": 1}
        assert LEFT == []
    assert left == LEFT


@pytest.mark.parametrize("found", [5, lambda: None, dict], ids=["number", "nothing", "class"])
async def test_anything_else_is_refused(found):
    with pytest.raises(ConfigError, match=r"store\.path: '\./store\.py:s' gives"):
        async with own_store("./store.py:s", lambda spec: found):
            raise AssertionError
