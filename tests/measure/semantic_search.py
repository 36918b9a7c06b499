"""How long searches by meaning take among many items in a file: `python -m tests.measure.semantic_search [ITEMS] [DIMS]`.

Beside each median stands its ratio to what cannot be less: the product of all vectors with the query, by numpy alone, in the same
sitting. LangGraph's own store in memory does the same on the same items.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from langgraph.store.base import PutOp, ensure_embeddings
from langgraph.store.memory import InMemoryStore

from threadloom.clock import SystemClock
from threadloom.storage.sqlite import SqliteStorage
from threadloom.store import Index, Store

ROUNDS = 15
AT_ONCE = 2000


class Vectors:
    """An embedding function that takes no time: each text has its vector by its number."""

    def __init__(self, count: int, dims: int) -> None:
        drawn = np.random.default_rng(1).standard_normal((count, dims)).astype("<f4")
        self.matrix = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        return [self.matrix[int(text)] for text in texts]


def namespace(number: int) -> tuple[str, str]:
    return ("notes", f"user {number % 100}")


async def fill(store: Store | InMemoryStore, items: int) -> None:
    for start in range(0, items, AT_ONCE):
        numbers = range(start, min(items, start + AT_ONCE))
        await store.abatch([PutOp(namespace(n), f"{n}", {"text": f"{n}", "kind": n % 10}) for n in numbers])


async def timed(search: Callable[[int], Awaitable[object]], rounds: int = ROUNDS) -> float:
    """The median, in milliseconds."""
    taken = []
    for number in range(rounds):
        began = time.perf_counter()
        await search(number)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


async def measure(items: int, dims: int, folder: Path) -> None:
    vectors = Vectors(items, dims)
    embeddings = ensure_embeddings(vectors)

    async def product(number: int) -> object:
        return vectors.matrix @ vectors.matrix[number]

    def search_of(store: Store | InMemoryStore, prefix: tuple[str, ...], **more: object):
        return lambda number: store.asearch(prefix, query=f"{number}", **more)

    async def opened() -> tuple[SqliteStorage, Store]:
        storage = SqliteStorage(folder)
        await storage.open()
        return storage, Store(storage, SystemClock(), index=Index(embeddings, dims, ["text"]))

    storage, store = await opened()
    async with store:
        await fill(store, items)
    await storage.close()
    floor = await timed(product)
    print(f"{items} items, {dims} numbers each\nthe product alone               {floor:8.1f} ms")

    storage, store = await opened()
    async with store:
        print(f"first search, nothing read      {await timed(search_of(store, ('notes',)), 1):8.1f} ms")
        for name, prefix, more in (
            ("all items", ("notes",), {}),
            ("a user's, 1 of 100", ("notes", "user 5"), {}),
            ("all, a filter that 1 of 10 meets", ("notes",), {"filter": {"kind": 3}}),
            ("all, a filter that none meets", ("notes",), {"filter": {"kind": 11}}),
        ):
            median = await timed(search_of(store, prefix, **more))
            print(f"{name:32}{median:8.1f} ms {median / floor:6.1f} x")
    await storage.close()
    storage, store = await opened()
    async with store:
        began = time.perf_counter()
        await store.warm()
        print(f"reading all beforehand          {(time.perf_counter() - began) * 1000:8.1f} ms")
        print(f"first search after that         {await timed(search_of(store, ('notes',)), 1):8.1f} ms")
    await storage.close()

    memory = InMemoryStore(index={"dims": dims, "embed": embeddings, "fields": ["text"]})
    await fill(memory, items)
    median = await timed(search_of(memory, ("notes",)), 3)
    print(f"LangGraph's store in memory     {median:8.1f} ms {median / floor:6.1f} x")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(*([int(word) for word in sys.argv[1:]] or [100_000, 384]), folder=Path(place)))
