"""The protocols that every storage implements. `tests/contract` runs on each implementation.

Work on more than one record is one transaction. It is written once for all databases, as an `async def` that takes a transaction
and awaits nothing else:

    async def retitle(tx: Tx) -> bool:
        thread = await tx.threads.get(thread_id)
        ...
    await storage.write(retitle)

An embedded database runs it on its writer thread, a remote one on a connection. It may run more than once (a retry), so its only
effects must be those through `tx`. When `write` returns its result, the transaction is committed.

These rules hold for every method of a record's protocol, unless its docstring says otherwise:

- Moments are whole microseconds since 1970 (UTC), durations are microseconds, sizes are bytes. JSON is UTF-8 in bytes.
- An unknown id is not an error: the result is None, False or an empty list, and a change does nothing.
- Within `Storage.write` on PostgreSQL, a method that reads or changes a record of a thread first takes the thread's lock and
  holds it to the end of the transaction. Searches, counts and reads of all threads take no lock. On SQLite there is one writer.
- StorageError is raised when the database refuses or cannot be reached. The transaction is then rolled back.

The storage does not know the rules for statuses, multitask strategies or HTTP.
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
    """One transaction, or one read-only snapshot from `Storage.read`."""

    @property
    def lineage(self) -> Lineage:
        """Checkpoints and pending writes."""
        ...

    @property
    def threads(self) -> Threads:
        """Thread records."""
        ...

    @property
    def runs(self) -> Runs:
        """Runs, the queue, outcomes."""
        ...

    @property
    def events(self) -> Events:
        """Stored events."""
        ...

    @property
    def assistants(self) -> Assistants:
        """Assistants and their versions."""
        ...

    @property
    def crons(self) -> Crons:
        """Crons."""
        ...

    @property
    def items(self) -> Items:
        """Items of the store."""
        ...

    @property
    def tasks(self) -> Tasks:
        """Runs as A2A tasks."""
        ...

    @property
    def deliveries(self) -> Deliveries:
        """Deliveries of webhooks."""
        ...

    @property
    def ciphertexts(self) -> Ciphertexts:
        """Encrypted columns in their stored form, for key rotation."""
        ...


class Storage(Protocol):
    """A database with all data of the server."""

    async def open(self) -> None:
        """Takes the database's lock and migrates the database. Called once, before every other method.

        Raises:
            StartError: another process uses the database, or another release wrote it.
            StorageError: the database cannot be opened.
        """
        ...

    async def close(self) -> None:
        """Commits all submitted transactions, then closes the database. No method may be called after it."""
        ...

    async def write(self, work: Callable[[Tx], Awaitable[T]], *, heavy: bool = False, single: bool = False) -> T:
        """Runs `work` as one transaction and returns its result after the commit.

        On SQLite transactions run one after the other. On PostgreSQL they run concurrently. There, each method that reads or
        changes a record of a thread first takes that thread's lock and holds it to the end
        (docs/decisions/0009-records-on-postgresql.md). `work` may run more than once.

        Args:
            heavy: it may take long. It then runs where it does not delay other transactions.
            single: it is exactly one `lineage.put` or `put_writes`. Those of one thread are stored in the order of submission;
                the storage may commit many of them in one transaction.

        Raises:
            StorageError: the database refused. Nothing was stored.
            Exception: whatever `work` raised. Nothing was stored.
        """
        ...

    def defer(
        self, work: Callable[[Tx], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> "asyncio.Future[None] | None":
        """Submits a transaction without waiting for its commit. Called on an event loop.

        It is committed after the transactions submitted before it, with the next commit or within some milliseconds. A read sees
        it, except under a high write load.

        Args:
            failed: called with the error that `write` would have raised, on any thread, before transactions that were submitted
                later are executed.

        Returns:
            A future that is done when the transaction is committed or has failed; None where this is not available: use `write`.
        """
        ...

    async def read(self, work: Callable[[Tx], Awaitable[T]], *, heavy: bool = False, deferred: bool = True) -> T:
        """Runs `work` on one snapshot and returns its result. `work` must not write.

        Args:
            heavy: it may take long. It then runs where it does not delay others.
            deferred: whether the snapshot must include transactions that were deferred before. Without them the read is cheaper.

        Raises:
            StorageError: the database cannot be read.
        """
        ...

    async def size(self) -> int:
        """Returns how many bytes the database takes on disk, with its log.

        Raises:
            StorageError: the database cannot be read.
        """
        ...

    async def probe(self) -> None:
        """Checks that the database responds and, on SQLite, accepts writes.

        Raises:
            StorageError: the check failed.
        """
        ...

    def write_now(self, work: Callable[[Tx], Awaitable[T]], *, single: bool = False) -> T:
        """Does what `write` does, for a thread without a running event loop. Blocks until the commit."""
        ...

    def read_now(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Does what `read` does, for a thread without a running event loop. Blocks."""
        ...

    def new_blob_id(self) -> int:
        """Returns an id for a new blob that is unique in the database. Does not wait, because ids are reserved in ranges. Any
        thread may call it.
        """
        ...
