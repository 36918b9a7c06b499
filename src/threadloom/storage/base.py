"""Where bytes live: the protocols that every storage meets. `tests/contract` runs on each implementation.

Work on more than one record is one transaction, written once for all databases as an `async def` that takes a
transaction and awaits nothing else:

    async def retitle(tx: Tx) -> bool:
        thread = await tx.threads.get(thread_id)
        ...
    await storage.write(retitle)

An embedded database runs it on its writer thread, a remote one on a connection. It may run more than once (a retry), so
it has no effect but through `tx`. What it returns is committed when `write` returns.

Storage stores. It knows nothing of status rules, strategies or HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from threadloom.storage.assistants import Assistants
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


class Tx(Protocol):
    """One transaction (or, from `Storage.read`, one snapshot that must not be written to)."""

    @property
    def lineage(self) -> Lineage: ...
    @property
    def threads(self) -> Threads: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def events(self) -> Events: ...
    @property
    def assistants(self) -> Assistants: ...
    @property
    def crons(self) -> Crons: ...
    @property
    def items(self) -> Items: ...
    @property
    def tasks(self) -> Tasks: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def ciphertexts(self) -> Ciphertexts: ...


class Storage(Protocol):
    """A database with everything the server keeps."""

    async def open(self) -> None:
        """Makes the database ready: takes its lock, migrates it.

        Raises:
            StartError: it is in use by another process, or of a newer release.
            StorageError: it cannot be opened.
        """
        ...

    async def close(self) -> None: ...

    async def write(self, work: Callable[[Tx], Awaitable[T]], *, heavy: bool = False, single: bool = False) -> T:
        """Runs `work` as one transaction; it is committed when this returns. `heavy` work may take long and must not hold
        up others. `single` work is one `lineage.put` or `put_writes` and nothing else: those of one thread are stored in
        the order in which they were handed in, and the storage may commit many of them at once.

        Raises:
            StorageError: the database refused. Nothing was kept.
        """
        ...

    def defer(
        self, work: Callable[[Tx], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> "asyncio.Future[None] | None":
        """Hands in a transaction that nobody waits for yet, on an event loop. It is committed after whatever was handed in
        before, along with what is committed next, or by itself within some milliseconds; a read sees it, unless much is being
        written just then.

        Args:
            failed: told what `write` would have raised, on whichever thread, before what was handed in later is executed.

        Gives what is done when it is committed or has failed; None where this cannot be had: use `write`.
        """
        ...

    async def read(self, work: Callable[[Tx], Awaitable[T]], *, heavy: bool = False, deferred: bool = True) -> T:
        """Runs `work` on one snapshot. `heavy`: it may take long. Not `deferred`: what was deferred need not be seen."""
        ...

    async def probe(self) -> None:
        """Looks whether the database answers and, on SQLite, takes writes. Raises StorageError if not."""
        ...

    def write_now(self, work: Callable[[Tx], Awaitable[T]], *, single: bool = False) -> T:
        """The same as `write` for a thread that runs no event loop: blocks until it is committed."""
        ...

    def read_now(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """The same as `read` for a thread that runs no event loop."""
        ...

    def new_blob_id(self) -> int:
        """An id for a new blob, unique in the database, handed out without asking it."""
        ...
