"""Thread records in a storage."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import orjson

from threadloom.storage.filters import Filter
from threadloom.storage.named import load
from threadloom.storage.rows import WITH_STATE, WITHOUT_STATE
from threadloom.types import Thread, ThreadStatus, Ttl

RELATIVES = load(__package__, "relatives.sql")

MOST_ANCESTORS = 10_000
"""How many generations of copies are looked through for the thread that two threads descend from."""

SORTED_BY: Mapping[str, str] = {
    name: f"t.{name}" for name in ("thread_id", "status", "created_at", "updated_at", "state_updated_at")
}
"""The column of `threads t` for each `sort_by`. Ties keep the order of creation."""


class ThreadQuery(msgspec.Struct, kw_only=True):
    """The conditions, page and order of a search for threads. All conditions must hold; `metadata` and `values` match by
    containment.

    `where` is the caller's filter. `forked_from` finds the direct copies of a thread, `tree_of` a thread and everything that
    descends from it by copying. Both take the id of the thread that has it now, or else of the last one that had it.
    """

    where: Filter | None = None
    metadata: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    status: ThreadStatus | None = None
    ids: Sequence[str] | None = None
    forked_from: str | None = None
    tree_of: str | None = None
    limit: int = 10
    offset: int = 0
    sort_by: str = "updated_at"
    descending: bool = True
    with_state: bool = True


class Relative(msgspec.Struct, frozen=True):
    """A thread of a tree of copies.

    Attributes:
        seq: its number, which is never reused. A copy has a larger number than its source.
        parent: the number of the thread that it is a copy of; None for the root.
        checkpoint_id: the newest root checkpoint that was copied; None for the root, or if there was none.
        at: when it was copied; None for the root.
        status: None for a deleted thread.
        updated_at: 0 for a deleted thread.
        metadata: empty for a deleted thread.
    """

    seq: int
    parent: int | None
    thread_id: str
    checkpoint_id: str | None
    at: int | None
    status: ThreadStatus | None
    updated_at: int
    metadata: dict[str, Any]


def relative(row: Sequence[Any]) -> Relative:
    """Returns a relative from a row of the statement `family`."""
    *columns, metadata = row
    columns.append({} if metadata is None else orjson.loads(metadata))
    return Relative(*columns)


def _number_of(thread_id: str) -> str:
    """Returns SQL for the number of the thread with an id: the one that exists, or else the last one that was deleted."""
    deleted = (
        f"SELECT max(child) AS seq FROM forks WHERE thread_id = {thread_id}"
        f" UNION ALL SELECT max(root) FROM forks WHERE root_id = {thread_id}"
    )
    return f"coalesce((SELECT seq FROM threads WHERE thread_id = {thread_id}), (SELECT max(d.seq) FROM ({deleted}) d))"


def direct_copies(thread_id: str) -> str:
    """Returns the statement that finds the numbers of the direct copies of a thread. `thread_id` is a parameter in SQL."""
    return f"SELECT f.child FROM forks f WHERE f.parent = {_number_of(thread_id)}"


def tree(thread_id: str) -> str:
    """Returns the statement that finds the numbers of a thread and of all that descend from it, as `direct_copies`."""
    return (
        f"WITH RECURSIVE tree (seq) AS (SELECT {_number_of(thread_id)}"
        " UNION ALL SELECT f.child FROM tree JOIN forks f ON f.parent = tree.seq) SELECT seq FROM tree"
    )


def search(query: ThreadQuery, where: str, page: str) -> str:
    """Returns the statement that finds threads. Conditions and page (LIMIT, OFFSET) are in the database's dialect, on `threads
    t`.
    """
    order = f"ORDER BY {SORTED_BY[query.sort_by]} {'DESC' if query.descending else 'ASC'}, t.seq"
    columns = WITH_STATE if query.with_state else WITHOUT_STATE
    state = "LEFT JOIN states s ON s.id = t.state_id" if query.with_state else ""
    # Rows are selected by number first, so that sorting does not move documents.
    chosen = f"SELECT t.seq AS seq FROM threads t {where} {order} {page}"
    return f"SELECT {columns} FROM ({chosen}) c JOIN threads t ON t.seq = c.seq {state} {order}"


class Threads(Protocol):
    """Thread records. Ties in sorting keep the order of creation."""

    async def insert(self, thread: Thread, *, fresh: bool = False) -> bool:
        """Stores a new record, with its state if it has one.

        Args:
            fresh: the id was created just now, so no other transaction can use it before the commit. The thread is not locked
                then.

        Returns:
            False when the id is taken; then nothing was stored.
        """
        ...

    async def insert_copies(self, record: Thread, metadata: Mapping[str, Mapping[str, Any]], *, state_of: str) -> None:
        """Stores copies of one thread, with a fixed number of statements whatever their number. No other transaction can know
        their ids before the commit, so they are not locked.

        Args:
            record: what the copies have in common: all fields but id and metadata, including what they are forked from. Its
                `values_json` and `interrupts_json` are not stored.
            metadata: the metadata of each copy, by its id.
            state_of: the thread whose state the copies show. It is a reference: no payload is copied.
        """
        ...

    async def get(self, thread_id: str, *, with_state: bool = True) -> Thread | None:
        """Returns the record, or None if there is none. Without `with_state` its `values_json` and `interrupts_json`
        are None.
        """
        ...

    async def newest_change(self) -> int | None:
        """Returns the latest `updated_at` of all threads, in microseconds since 1970; None if there is no thread."""
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
        """Sets the fields given; None leaves a field as it is. Does nothing if there is no such thread.

        Args:
            metadata: replaces the metadata as a whole; merging is the caller's.
            config: replaces the config as a whole.
        """
        ...

    async def set_state(
        self,
        thread_id: str,
        *,
        values_json: bytes | None,
        interrupts_json: bytes | None,
        error: Mapping[str, Any] | None,
    ) -> None:
        """Sets what the record shows of the state. Copies that share the old one keep it.

        Args:
            values_json: JSON, or None for no values.
            interrupts_json: JSON object of task ids to lists, or None.
            error: `{"error", "message"}`, or None.
        """
        ...

    async def set_error(self, thread_id: str, error: Mapping[str, Any] | None) -> None:
        """Sets or, with None, clears the error that the record shows. Values and interrupts stay."""
        ...

    async def set_ttl(self, thread_id: str, ttl: Ttl | None) -> None:
        """Sets or, with None, removes the time to live."""
        ...

    async def set_priority(self, thread_id: str, priority: int) -> None:
        """Sets the priority of the thread's runs: -5 (first) to 5 (last). Runs that exist keep theirs."""
        ...

    async def delete(self, thread_id: str) -> bool:
        """Removes the record alone; history, runs, events and crons are removed by their own methods. The record of its copies is
        kept as long as a thread descends from it.

        Returns:
            False when there was none.
        """
        ...

    async def permitted(self, thread_id: str, where: Filter | None) -> bool:
        """Returns whether the thread exists and its stored metadata match `where` (None: any). Decrypts nothing."""
        ...

    async def ttl(self, thread_id: str) -> Ttl | None:
        """Returns the time to live; None when there is none, or no thread."""
        ...

    async def copies(self, thread_id: str) -> list[str]:
        """Returns the ids of all threads that descend from a thread by copying, through deleted threads too, in no
        order.
        """
        ...

    async def ancestors(self, thread_id: str) -> list[Relative]:
        """Returns a thread and the threads that it descends from by copying, nearest first, deleted ones too; at most
        `MOST_ANCESTORS`. Empty if there is no such thread.
        """
        ...

    async def family(self, thread_id: str, limit: int) -> list[Relative]:
        """Returns the tree of copies that a thread belongs to, ancestors before those that descend from them, with one statement.
        Deleted threads are included if a thread that exists descends from them. Empty if there is no such thread.

        Args:
            limit: at most so many are returned: first the thread's ancestors, then the thread with what descends from it, then
                the others.
        """
        ...

    async def of_one_tree(self, thread_id: str, other: str) -> bool:
        """Returns whether two threads exist and descend from one thread by copying, or one from the other."""
        ...

    async def direct_copies(self, thread_id: str, limit: int) -> list[tuple[str, str | None]]:
        """Returns the newest copies of a thread, without copies of these, newest first. Each is the id of the copy with the id of
        the newest root checkpoint that was copied (None: none).
        """
        ...

    async def search(self, query: ThreadQuery) -> list[Thread]:
        """Returns one page of the records that match, in the order that the query asks for."""
        ...

    async def count(self, query: ThreadQuery) -> int:
        """Returns how many records match; `limit`, `offset` and the order have no effect."""
        ...

    async def expired(self, now: int, limit: int) -> list[Thread]:
        """Returns at most `limit` threads whose time to live ended at or before `now` and that are not busy, the
        longest overdue first, without state.
        """
        ...
