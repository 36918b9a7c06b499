"""A store that the user brings in place of ours."""

import contextlib

import pytest
from langgraph.store.memory import InMemoryStore

from threadloom.errors import ConfigError
from threadloom.graphs.custom_store import CustomStore

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
    async with CustomStore("./store.py:s", lambda spec: found) as store:
        await store.aput(("a",), "k", {"n": 1})
        assert (await store.aget(("a",), "k")).value == {"n": 1}
        assert store.get(("a",), "k").value == {"n": 1}
        assert LEFT == []
    assert left == LEFT


@pytest.mark.parametrize("found", [5, lambda: None, dict], ids=["number", "nothing", "class"])
async def test_anything_else_is_refused(found):
    with pytest.raises(ConfigError, match=r"store\.path: '\./store\.py:s' gives"):
        async with CustomStore("./store.py:s", lambda spec: found):
            raise AssertionError


@contextlib.asynccontextmanager
async def unreachable():
    raise OSError("no database")
    yield


@pytest.mark.parametrize(
    ("found", "why"),
    [(unreachable, "OSError: no database"), (lambda config: InMemoryStore(), "TypeError: .* argument: 'config'")],
    ids=["raises", "takes too much"],
)
async def test_code_that_fails_is_told_by_name(found, why):
    with pytest.raises(ConfigError, match=rf"(?s)store\.path: \./store\.py:s failed: .*{why}"):
        async with CustomStore("./store.py:s", lambda spec: found):
            raise AssertionError


async def test_before_the_start_and_after_the_stop_it_says_so():
    store = CustomStore("./store.py:s", lambda spec: InMemoryStore())
    with pytest.raises(RuntimeError, match="once the server has started"):
        await store.aget(("a",), "k")
    async with store:
        await store.aget(("a",), "k")
    with pytest.raises(RuntimeError):
        await store.aget(("a",), "k")


async def test_it_takes_a_time_to_live_if_the_store_does():
    class Timed(InMemoryStore):
        supports_ttl = True

    async with CustomStore("./store.py:s", lambda spec: Timed()) as store:
        await store.aput(("a",), "k", {}, ttl=1)
    async with CustomStore("./store.py:s", lambda spec: InMemoryStore()) as store:
        with pytest.raises(NotImplementedError):
            await store.aput(("a",), "k", {}, ttl=1)
