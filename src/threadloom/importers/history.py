"""Stores an imported thread in one transaction."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from threadloom.engine.snapshot import EMPTY, Snapshot
from threadloom.engine.thread_record import show_state
from threadloom.ids import parse_id
from threadloom.storage.base import Storage, Tx
from threadloom.storage.lineage import CheckpointPut, WritesPut, builds_on_others
from threadloom.types import Thread

ORIGIN = "imported_from"
"""Key of a thread's metadata: its id in the source, if that id could not be kept."""


class History(msgspec.Struct, kw_only=True):
    """A thread's record, and the writes of its history in their order."""

    thread: Thread
    puts: Sequence[CheckpointPut | WritesPut]


Show = Callable[[Thread], Awaitable[Snapshot]]
"""Reads the state of a thread through its graph."""


async def keep(storage: Storage, history: History) -> bool:
    """Stores a thread with its history in one transaction. Returns False, and stores nothing, if the thread exists already."""

    async def work(tx: Tx) -> bool:
        if not await tx.threads.insert(history.thread):
            return False
        era = None
        for put in history.puts:
            if isinstance(put, WritesPut):
                await tx.lineage.put_writes(put)
                continue
            inherits = builds_on_others(put.refs, put.blobs)
            era = await tx.lineage.put(msgspec.structs.replace(put, era=era if inherits else None))
        return True

    return await storage.write(work, heavy=True)


async def show(storage: Storage, thread: Thread, read: Show) -> None:
    """Updates a thread's record with its newest state, as at the end of a run."""
    snapshot = await read(thread)
    if snapshot == EMPTY:
        return

    async def work(tx: Tx) -> None:
        status = await show_state(tx, thread.thread_id, snapshot, error=thread.error)
        await tx.threads.update(thread.thread_id, status=status)

    await storage.write(work)


def own_id(thread_id: str, namespace_of: Callable[[str], str]) -> str:
    """Returns the id of an imported thread: its original id if that is a UUID, else a UUID that is derived from it."""
    return parse_id(thread_id) or namespace_of(thread_id)
