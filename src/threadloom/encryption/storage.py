"""A storage that wraps another storage: it encrypts what is written and decrypts what is read, transparently to its callers."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TypeVar, cast

from threadloom.encryption.cipher import Cipher
from threadloom.encryption.columns import SealedCiphertexts
from threadloom.encryption.content import SealedItems, SealedLineage
from threadloom.encryption.tables import (
    SealedAssistants,
    SealedCrons,
    SealedDeliveries,
    SealedEvents,
    SealedRuns,
    SealedTasks,
    SealedThreads,
)
from threadloom.storage.assistants import Assistants
from threadloom.storage.base import Storage, Tx
from threadloom.storage.ciphertexts import Ciphertexts
from threadloom.storage.crons import Crons
from threadloom.storage.deliveries import Deliveries
from threadloom.storage.events import Events
from threadloom.storage.items import Items
from threadloom.storage.lineage import Lineage
from threadloom.storage.runs import Runs
from threadloom.storage.tasks import Tasks
from threadloom.storage.threads import Threads

T = TypeVar("T")


class SealedTx:
    """A transaction with encrypted content. (The casts are needed because a table takes its unencrypted methods from the storage
    at run time.)
    """

    def __init__(self, inner: Tx, cipher: Cipher) -> None:
        self._inner = inner
        self._cipher = cipher

    @cached_property
    def lineage(self) -> Lineage:
        return cast(Lineage, SealedLineage(self._inner.lineage, self._cipher))

    @cached_property
    def threads(self) -> Threads:
        return cast(Threads, SealedThreads(self._inner.threads, self._cipher))

    @cached_property
    def runs(self) -> Runs:
        return cast(Runs, SealedRuns(self._inner.runs, self._cipher))

    @cached_property
    def events(self) -> Events:
        return cast(Events, SealedEvents(self._inner.events, self._cipher))

    @cached_property
    def assistants(self) -> Assistants:
        return cast(Assistants, SealedAssistants(self._inner.assistants, self._cipher))

    @cached_property
    def crons(self) -> Crons:
        return cast(Crons, SealedCrons(self._inner.crons, self._cipher))

    @cached_property
    def items(self) -> Items:
        return cast(Items, SealedItems(self._inner.items, self._cipher))

    @cached_property
    def deliveries(self) -> Deliveries:
        return cast(Deliveries, SealedDeliveries(self._inner.deliveries, self._cipher))

    @cached_property
    def tasks(self) -> Tasks:
        return cast(Tasks, SealedTasks(self._inner.tasks, self._cipher))

    @cached_property
    def ciphertexts(self) -> Ciphertexts:
        """The ciphertexts, for a second cipher around this one."""
        return SealedCiphertexts(self._inner.ciphertexts, self._cipher)


class SealedStorage:
    """Encrypts with a cipher that never waits.

    Args:
        inner: the storage for the ciphertexts.
    """

    def __init__(self, inner: Storage, cipher: Cipher) -> None:
        self._inner = inner
        self._cipher = cipher

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def write(self, work: Callable[[SealedTx], Awaitable[T]], *, heavy: bool = False, single: bool = False) -> T:
        return await self._inner.write(lambda tx: work(SealedTx(tx, self._cipher)), heavy=heavy, single=single)

    def defer(
        self, work: Callable[[SealedTx], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> "asyncio.Future[None] | None":
        return self._inner.defer(lambda tx: work(SealedTx(tx, self._cipher)), failed)

    async def read(self, work: Callable[[SealedTx], Awaitable[T]], *, heavy: bool = False, deferred: bool = True) -> T:
        return await self._inner.read(lambda tx: work(SealedTx(tx, self._cipher)), heavy=heavy, deferred=deferred)

    async def size(self) -> int:
        return await self._inner.size()

    async def probe(self) -> None:
        await self._inner.probe()

    def write_now(self, work: Callable[[SealedTx], Awaitable[T]], *, single: bool = False) -> T:
        return self._inner.write_now(lambda tx: work(SealedTx(tx, self._cipher)), single=single)

    def read_now(self, work: Callable[[SealedTx], Awaitable[T]]) -> T:
        return self._inner.read_now(lambda tx: work(SealedTx(tx, self._cipher)))

    def new_blob_id(self) -> int:
        return self._inner.new_blob_id()
