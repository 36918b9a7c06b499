"""Where bytes live: the protocols that every storage meets. `tests/contract` runs on each implementation.

Work on more than one record is one transaction, written once for all databases as an `async def` that takes a
transaction and awaits nothing else:

    async def retitle(tx: Tx) -> bool:
        thread = await tx.threads.get(thread_id)
        ...
    await storage.write(retitle)

An embedded database runs it on its writer thread, a remote one on a connection. It may run more than once (a retry), so
it has no effect but through `tx`. What it returns is committed when `write` returns.

What holds for every method of a record's protocol, unless its docstring says otherwise:

- Moments are whole microseconds since 1970 (UTC), lengths of time microseconds, sizes bytes. JSON is UTF-8 in bytes.
- An unknown id is no error: it is None, False or an empty list, and a change of it does nothing.
- Within `Storage.write` on PostgreSQL, what reads or changes a record of a thread takes the thread's lock first and holds it to
  the end of the transaction. Searches, counts and what looks at all threads take no lock. On SQLite there is one writer.
- StorageError is raised when the database refuses or cannot be reached. The transaction is over then; nothing of it is stored.

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
        """Runs as A2A shows them."""
        ...

    @property
    def deliveries(self) -> Deliveries:
        """Deliveries of webhooks."""
        ...

    @property
    def ciphertexts(self) -> Ciphertexts:
        """Columns as they are stored, for changing keys."""
        ...


class Storage(Protocol):
    """A database with everything the server keeps."""

    async def open(self) -> None:
        """Makes the database ready: takes its lock, migrates it. Called once, before everything else.

        Raises:
            StartError: it is in use by another process, or was made by another release.
            StorageError: it cannot be opened.
        """
        ...

    async def close(self) -> None:
        """Commits what was handed in, then lets go of the database. Nothing may be called after it."""
        ...

    async def write(self, work: Callable[[Tx], Awaitable[T]], *, heavy: bool = False, single: bool = False) -> T:
        """Runs `work` as one transaction and returns what it returns, once that is committed.

        On SQLite transactions run one after the other. On PostgreSQL they run at once, and what reads or changes a
        record of a thread first takes that thread's lock and holds it to the end
        (docs/decisions/0009-records-on-postgresql.md). `work` may run more than once.

        Args:
            heavy: it may take long. It is run where it does not hold up others.
            single: it is one `lineage.put` or `put_writes` and nothing else. Those of one thread are stored in the
                order in which they were handed in; the storage may commit many of them at once.

        Raises:
            StorageError: the database refused. Nothing was stored.
            Exception: whatever `work` raised. Nothing was stored.
        """
        ...

    def defer(
        self, work: Callable[[Tx], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> "asyncio.Future[None] | None":
        """Hands in a transaction that nobody waits for yet, on an event loop. It is committed after what was handed in
        before, with the next commit or within some milliseconds. A read sees it, except while much is being written.

        Args:
            failed: called with what `write` would have raised, on any thread, before what was handed in later is
                executed.

        Returns:
            A future that is done when it is committed or has failed; None where this is not available: use `write`.
        """
        ...

    async def read(self, work: Callable[[Tx], Awaitable[T]], *, heavy: bool = False, deferred: bool = True) -> T:
        """Runs `work` on one snapshot and returns what it returns. `work` must not write.

        Args:
            heavy: it may take long. It is run where it does not hold up others.
            deferred: whether what was deferred before must be seen. Without it the read is cheaper.

        Raises:
            StorageError: the database cannot be read.
        """
        ...

    async def probe(self) -> None:
        """Checks that the database answers and, on SQLite, takes writes.

        Raises:
            StorageError: it does not.
        """
        ...

    def write_now(self, work: Callable[[Tx], Awaitable[T]], *, single: bool = False) -> T:
        """Does what `write` does, for a thread that runs no event loop. Blocks until it is committed."""
        ...

    def read_now(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Does what `read` does, for a thread that runs no event loop. Blocks."""
        ...

    def new_blob_id(self) -> int:
        """Returns an id for a new blob that is unique in the database. Does not wait: ids are reserved in portions. Any
        thread may call it.
        """
        ...
