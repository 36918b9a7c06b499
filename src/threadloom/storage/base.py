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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from threadloom.storage.ciphertexts import Ciphertexts
from threadloom.storage.crons import Crons
from threadloom.storage.deliveries import Deliveries
from threadloom.storage.events import Events
from threadloom.storage.filters import Filter
from threadloom.storage.items import Items
from threadloom.storage.lineage import Lineage
from threadloom.storage.queue import Claim, Lease, Outlook, QueueFigures, Renewal, Standing
from threadloom.storage.tasks import Tasks
from threadloom.types import (
    Assistant,
    CancelAction,
    Outcome,
    Run,
    RunStatus,
    Thread,
    ThreadStatus,
    Ttl,
)

T = TypeVar("T")


class ThreadQuery(msgspec.Struct, kw_only=True):
    """Which threads, in which order. Filters are joined with and; `metadata` and `values` by containment.

    `where` is what the caller may see at all.
    """

    where: Filter | None = None
    metadata: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    status: ThreadStatus | None = None
    ids: Sequence[str] | None = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "updated_at"
    descending: bool = True
    with_state: bool = True


class Threads(Protocol):
    """Thread records. Sorting ties keep the order of making."""

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        """False when the id is taken. `fresh`: the id was just made, so nobody else can ask for the thread before the commit."""
        ...

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        """The record; without its `…_json` fields when `with_state` is false."""
        ...

    async def newest_change(self) -> int | None:
        """The latest `updated_at` of all threads, in microseconds; None without any thread."""
        ...

    async def update(
        self,
        thread_id: str,
        *,
        updated_at: int | None = None,
        state_updated_at: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        status: ThreadStatus | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Sets the fields given; None leaves one as it is."""
        ...

    async def set_state(
        self,
        thread_id: str,
        *,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        """Sets what the record shows of the state. Other threads that share the old one keep it."""
        ...

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None: ...

    async def share_state(self, source: str, target: str) -> None:
        """Lets `target` show the very state that `source` shows (a reference, no bytes)."""
        ...

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None: ...

    async def set_priority(self, thread_id: str, priority: int) -> None:
        """Settles how urgent the runs of a thread are."""
        ...

    async def delete(self, thread_id: str) -> bool:
        """Removes the record alone. False when there was none. Its copies become copies of what it was a copy of."""
        ...

    async def permitted(self, thread_id: str, where: Filter | None) -> bool:
        """Whether it is there and fits, judged by what is stored: nothing of it has to be opened."""
        ...

    async def ttl(self, thread_id: str) -> Ttl | None: ...

    async def copies(self, thread_id: str) -> list[str]:
        """Ids of all threads that descend from a thread by copying, also through threads that are gone."""
        ...

    async def search(self, query: ThreadQuery) -> list[Thread]: ...

    async def count(self, query: ThreadQuery) -> int:
        """How many there are, whatever `limit` and `offset` say."""
        ...

    async def expired(self, now: int, limit: int) -> list[Thread]:
        """Threads whose time to live is over and that are not busy, the longest overdue first, without state."""
        ...


class Runs(Protocol):
    """Runs, their queue, and their outcomes."""

    async def insert(self, run: Run, claim: Claim | None = None) -> Run:
        """Stores a new run, sets its `order` and gives it back.

        With a claim, and where no other run of its thread is to end, it begins as if `take` had followed; what is given back is
        what `take` would have given.
        """
        ...

    async def get(self, run_id: str) -> Run | None: ...

    async def of_thread(
        self, thread_id: str, *, status: RunStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        """Newest first."""
        ...

    async def active(self, thread_id: str, *, limit: int | None = None) -> list[Run]:
        """Pending and running ones, oldest first."""
        ...

    async def has_active(self, thread_id: str) -> bool: ...

    async def busy_threads(self) -> list[str]: ...

    async def count_active_of_user(self, user_id: str, *, besides: str | None = None) -> int:
        """How many runs of a user are still to end, those of one thread left out."""
        ...

    async def claim(
        self, worker: str, now: int, lease: int, limit: int, *, attempts: tuple[int, int | None] = (0, None)
    ) -> list[Run]:
        """Makes up to `limit` due pending runs running, each of a thread that has no other running: the smallest priority
        first, and of those the first made. Of one thread the first made goes first, whatever its priority.

        Each gets attempt + 1, a new fence and the lease. `attempts`: only those that had at least so many, and less than so
        many, attempts before. A run that was due once stays so, however clocks are set.
        """
        ...

    async def outlook(self, now: int) -> Outlook:
        """A cheap look before `claim` writes, and how long one may wait for the next."""
        ...

    async def delay_anew(self, now: int, ahead: int) -> int:
        """Begins the delay of some runs again, if it was reckoned more than `ahead` after now. Gives how many; 0: no more."""
        ...

    async def standing(self, run_id: str) -> Standing | None:
        """How a run stands, without what it was asked for."""
        ...

    async def take(self, run_id: str, worker: str, now: int, lease: int) -> Run | None:
        """Claims one pending run by id, as `claim` does. None when it is not pending."""
        ...

    async def holds(self, run_id: str, fence: int) -> bool:
        """Whether a run is running under this fence. It stays so until the transaction ends."""
        ...

    async def renew(self, held: Iterable[tuple[str, int]], lease: int) -> list[Renewal]:
        """Extends the leases of (run id, fence) pairs, as far as they are still held."""
        ...

    async def leases(self) -> list[Lease]: ...

    async def still_held(self, leases: Sequence[Lease]) -> list[Run]:
        """The runs of leases that were not renewed since, and will not be in this transaction; a portion if there are many."""
        ...

    async def set_status(
        self,
        run_id: str,
        status: RunStatus,
        *,
        updated_at: int,
        ended_at: int | None = None,
    ) -> None:
        """Sets the status; leaving `running` also ends the lease and the fence."""
        ...

    async def requeue(self, run_id: str, *, attempt: int) -> None:
        """Makes a running run pending again, in its old place; `attempt` is how many count as made."""
        ...

    async def request_cancel(self, run_id: str, action: CancelAction) -> None:
        """Writes down that a running run is to stop."""
        ...

    async def delete(self, run_id: str) -> None:
        """Removes the row; outcome and events go their own way."""
        ...

    async def delete_of_thread(self, thread_id: str) -> int:
        """Removes the rows of all runs of a thread, and gives how many there were."""
        ...

    async def put_outcome(self, outcome: Outcome) -> None: ...

    async def outcome(self, run_id: str) -> Outcome | None: ...

    async def expire_outcomes(self, thread_id: str, at: int) -> None:
        """Lets the outcomes of a thread that is about to go end at a moment."""
        ...

    async def drop_outcome(self, run_id: str) -> None: ...

    async def drop_expired_outcomes(self, now: int) -> int: ...

    async def ended_before(self, moment: int, limit: int) -> list[str]:
        """Ids of runs that ended earlier, the oldest first, but not those whose threads still wait for an answer to them."""
        ...

    async def queue(self, now: int) -> QueueFigures:
        """How many runs are still to end, and since when those wait that could begin."""
        ...


class AssistantQuery(msgspec.Struct, kw_only=True):
    """Which assistants, in which order. `name` is a case-blind part of the name; only those of `graphs` count.

    `where` is what the caller may see at all.
    """

    where: Filter | None = None
    metadata: Mapping[str, Any] | None = None
    graph_id: str | None = None
    name: str | None = None
    graphs: Sequence[str] | None = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "created_at"
    descending: bool = True


class Assistants(Protocol):
    """Assistants in their current version, and all their versions."""

    async def insert(self, assistant: Assistant) -> bool:
        """Stores a new assistant and its first version. False when the id is taken."""
        ...

    async def get(self, assistant_id: str) -> Assistant | None: ...

    async def lock(self, assistant_id: str) -> None:
        """Lets nobody else change an assistant until the transaction ends. Who goes on from what it reads of one first does
        this; the many who only read must not wait for each other."""
        ...

    async def add_version(self, assistant: Assistant) -> Assistant:
        """Stores a new version (highest ever + 1) and makes it current; gives it back with its number."""
        ...

    async def versions(
        self, assistant_id: str, *, metadata: Mapping[str, Any] | None = None, limit: int = 10, offset: int = 0
    ) -> list[Assistant]:
        """Newest first; `created_at` is when that version was made."""
        ...

    async def version(self, assistant_id: str, number: int) -> Assistant | None: ...

    async def set_current(self, assistant: Assistant) -> None:
        """Writes an existing version's content and number into the current record."""
        ...

    async def restate(self, assistant: Assistant) -> None:
        """Changes description, config and context of a version in place, and the assistant's if that is its current one."""
        ...

    async def delete(self, assistant_id: str) -> bool:
        """Removes it with all versions."""
        ...

    async def search(self, query: AssistantQuery) -> list[Assistant]: ...

    async def count(self, query: AssistantQuery) -> int: ...


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

    kind: Literal["sqlite", "postgres"]

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
