"""The long-term store of LangGraph on the server's storage. Graphs, custom apps and the API use it.

The reads of a batch use one snapshot; then its writes use one transaction. Texts are embedded before both, so that no transaction
waits for a model.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from langgraph.store.base import (
    BaseStore,
    GetOp,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)
from langgraph.store.base import (
    Item as StoreItem,
)

from threadloom.clock import MINUTE, SECOND, Clock
from threadloom.codec import to_exact_json
from threadloom.errors import StorageError
from threadloom.large import DEEPEST, LARGE, aside, load_json
from threadloom.storage.base import Storage, Tx
from threadloom.storage.items import ItemQuery, conditions
from threadloom.store.index import EmbeddingError, Index
from threadloom.store.namespaces import beginning, page
from threadloom.types import Item

__all__ = ["EmbeddingError", "Index", "Store"]

log = logging.getLogger("threadloom.store")

FOREVER = 2**63 - 1
"""The latest moment that can be stored. A time to live that would end later ends here."""

SWEEP = 1000
"""Expired items that are removed in one transaction, so that other writes do not wait long."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ItemKey = tuple[tuple[str, ...], str]


class Store(BaseStore):
    """The store of a server.

    Sync methods may be called from any thread. From a thread without an event loop they run on the server's loop. On the thread
    of a loop they block that loop, as any sync call does.

    Args:
        index: embeds items for semantic search; None: queries are ignored.
        default_ttl: minutes that items live if a put does not say; None: forever.
        refresh_on_read: whether a read restarts an item's time to live if the read does not say.
    """

    __slots__ = ("_clock", "_home", "_index", "_storage", "ttl_config")

    supports_ttl = True

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        index: Index | None = None,
        default_ttl: float | None = None,
        refresh_on_read: bool = True,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._index = index
        self._home: asyncio.AbstractEventLoop | None = None
        self.ttl_config: TTLConfig | None = {
            "default_ttl": default_ttl,
            "refresh_on_read": refresh_on_read,
            "omit_expired": True,
        }

    async def __aenter__(self) -> "Store":
        """Runs sync calls of other threads on this loop from now on."""
        self._home = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._home = None

    async def warm(self) -> None:
        """Lets the storage load what semantic searches need, so that the first search is as fast as the others."""
        if self._index is None:
            return
        dims, now = self._index.dims, self._clock.now()
        try:
            await self._storage.read(lambda tx: tx.items.warm(dims, now), heavy=True)
        except StorageError:
            log.exception("vectors could not be read beforehand")

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """See `abatch`; blocks."""
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        home = self._home
        if running is None and home is not None and home.is_running():
            return asyncio.run_coroutine_threadsafe(self.abatch(ops), home).result()
        if running is None:
            return asyncio.run(self.abatch(ops))
        return _apart(self, list(ops))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Executes all operations: reads first, on the state before the writes. Of several writes to one item the last applies.

        Raises:
            InvalidNamespaceError: a label is empty, is not a text, or holds a period.
            ValueError: a filter's operator, a page or a time to live is not valid; a value is not a JSON object.
            EmbeddingError: the embedding function failed.
            StorageError: the database rejected the batch. Nothing of it was stored.
        """
        listed = list(ops)
        puts: dict[ItemKey, PutOp] = {}
        reads: list[tuple[int, GetOp | SearchOp | ListNamespacesOp]] = []
        for number, op in enumerate(listed):
            validate_op_namespace(op)
            if isinstance(op, PutOp):
                puts[tuple(op.namespace), op.key] = op
            elif isinstance(op, GetOp | SearchOp | ListNamespacesOp):
                reads.append((number, op))
            else:
                raise ValueError(f"Unknown operation type: {type(op)}")
        queries = {number: _search(op) for number, op in reads if isinstance(op, SearchOp)}
        values = {place: _encoded(op.value) for place, op in puts.items() if op.value is not None}
        lives = {place: _life(op.ttl) for place, op in puts.items()}
        vectors = await self._embed(puts, values, queries)

        results: list[Result] = [None] * len(listed)
        touched = await self._read(reads, queries, results) if reads else []
        if not puts and not touched:
            return results
        now = self._clock.now()
        items = {
            place: Item(
                namespace=place[0],
                key=place[1],
                value_json=value,
                created_at=now,
                updated_at=now,
                ttl_minutes=puts[place].ttl,
                expires_at=_end(now, lives[place]),
            )
            for place, value in values.items()
        }

        async def write(tx: Tx) -> None:
            await tx.items.refresh(touched, now)
            for place in puts:
                if place in items:
                    await tx.items.put(items[place], vectors.get(place, ()), now)
                else:
                    await tx.items.delete(*place)

        await self._storage.write(write, heavy=sum(map(len, values.values())) >= LARGE)
        return results

    async def sweep(self) -> int:
        """Removes the expired items, in several transactions. Returns how many items were removed."""
        removed = 0
        while True:
            now = self._clock.now()

            async def work(tx: Tx, now: int = now) -> int:
                return await tx.items.sweep(now, SWEEP)

            gone = await self._storage.write(work)
            removed += gone
            if gone < SWEEP:
                return removed

    async def sweep_forever(self, minutes: float) -> None:
        """Sweeps at an interval of `minutes` until it is cancelled. Expired items are invisible even before they are removed.

        An error of the database is logged, and the next sweep tries again.
        """
        while True:
            await self._clock.sleep(minutes * MINUTE / SECOND)
            try:
                removed = await self.sweep()
            except StorageError as error:
                log.warning("The sweep of expired store items failed: %s", error)
                continue
            if removed:
                log.info("Swept %d expired store items", removed)

    async def _embed(
        self, puts: Mapping[ItemKey, PutOp], values: Mapping[ItemKey, bytes], queries: Mapping[int, "_Search"]
    ) -> dict[ItemKey, list[bytes]]:
        """Returns the vectors of the values that are put. Sets the vectors of queries in `queries`."""
        if self._index is None:
            return {}
        texts: dict[ItemKey, list[str]] = {}
        for place, value in values.items():
            index = puts[place].index
            if index is not False:
                texts[place] = self._index.texts(msgspec.json.decode(value), index)
        wanted = list(dict.fromkeys(text for found in texts.values() for text in found))
        asked = list(dict.fromkeys(search.text for search in queries.values() if search.text))
        documents, asked_vectors = await asyncio.gather(self._index.documents(wanted), self._index.queries(asked))
        for search in queries.values():
            if search.text:
                search.query.vector = asked_vectors[search.text]
        return {place: [documents[text] for text in found] for place, found in texts.items()}

    async def _read(
        self,
        reads: Sequence[tuple[int, GetOp | SearchOp | ListNamespacesOp]],
        queries: Mapping[int, "_Search"],
        results: list[Result],
    ) -> list[ItemKey]:
        """Fills in the results of reads. Returns the keys of the items whose time to live restarts."""
        now = self._clock.now()
        beginnings = {number: beginning(op) for number, op in reads if isinstance(op, ListNamespacesOp)}

        async def work(tx: Tx) -> tuple[dict[int, Any], list[ItemKey]]:
            answers: dict[int, Any] = {}
            touched: dict[ItemKey, None] = {}
            for number, op in reads:
                if isinstance(op, ListNamespacesOp):
                    found = await tx.items.namespaces(beginnings[number], now)
                    answers[number] = page(found, op)
                    continue
                if isinstance(op, GetOp):
                    item = await tx.items.get(tuple(op.namespace), op.key, now)
                    items = [] if item is None else [item]
                    answers[number] = item
                else:
                    items = await tx.items.search(queries[number].query, now)
                    answers[number] = items
                if op.refresh_ttl:
                    touched |= {(item.namespace, item.key): None for item in items if item.expires_at is not None}
            return answers, list(touched)

        heavy = not all(isinstance(op, GetOp) for _, op in reads)
        answers, touched = await self._storage.read(work, heavy=heavy)
        for number, op in reads:
            answer = answers[number]
            if isinstance(op, GetOp):
                results[number] = None if answer is None else await _shown(answer)
            elif isinstance(op, SearchOp):
                results[number] = [await _found(item) for item in answer]
            else:
                results[number] = answer
        return touched


def _apart(store: Store, ops: list[Op]) -> list[Result]:
    """Executes a batch on a new thread with an event loop of its own, because the loop of this thread is blocked by the call."""
    results: list[list[Result]] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(store.abatch(ops)))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="threadloom-store")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _encoded(value: Any) -> bytes:
    """Returns a value as JSON, with the same encoding as states, and exactly: integers of any length, floats unchanged.

    Raises:
        ValueError: the value is not a mapping, or something in it has no JSON form.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"value must be a mapping, got {type(value).__name__}")
    try:
        return to_exact_json(value if type(value) is dict else dict(value))
    except ValueError as error:
        raise ValueError(f"value cannot be stored as JSON: {error}") from error


def _life(minutes: float | None) -> int | None:
    """Converts a time to live from minutes to microseconds.

    Raises:
        ValueError: it is not above zero.
    """
    if minutes is None:
        return None
    if not minutes > 0:
        raise ValueError(f"ttl must be above 0 minutes (got {minutes})")
    return min(int(min(minutes, 2.0**53) * MINUTE), FOREVER)


def _end(now: int, life: int | None) -> int | None:
    return None if life is None else min(now + life, FOREVER)


class _Search(msgspec.Struct):
    """A search, and the text to embed if it has a query."""

    query: ItemQuery
    text: str | None


def _search(op: SearchOp) -> _Search:
    if op.limit < 0 or op.offset < 0:
        raise ValueError(f"limit and offset must not be negative (got {op.limit} and {op.offset})")
    # The comparison is on JSON: tuples become lists and dates texts, as in the stored values.
    filter = msgspec.json.decode(_encoded(op.filter)) if op.filter else None
    prefix = tuple(op.namespace_prefix)
    query = ItemQuery(prefix=prefix, conditions=conditions(filter), limit=op.limit, offset=op.offset)
    return _Search(query, op.query)


def _moment(moment: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment)


async def _value(item: Item) -> Any:
    text = item.value_json
    if len(text) < LARGE:
        return msgspec.json.decode(text)
    return await aside(load_json, text if isinstance(text, bytes) else text.encode(), msgspec.json.decode, DEEPEST)


async def _shown(item: Item) -> StoreItem:
    return StoreItem(
        value=await _value(item),
        key=item.key,
        namespace=item.namespace,
        created_at=_moment(item.created_at),
        updated_at=_moment(item.updated_at),
    )


async def _found(item: Item) -> SearchItem:
    return SearchItem(
        value=await _value(item),
        key=item.key,
        namespace=item.namespace,
        created_at=_moment(item.created_at),
        updated_at=_moment(item.updated_at),
        score=item.score,
    )
