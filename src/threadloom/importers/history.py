"""A thread that comes from elsewhere, and how it is stored: all of it, or nothing."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from threadloom.engine.snapshot import EMPTY, Snapshot
from threadloom.engine.thread_record import show_state
from threadloom.ids import parse_id
from threadloom.storage.base import Storage, Tx
from threadloom.storage.lineage import CheckpointPut, WritesPut, builds_on_others
from threadloom.types import Thread

ORIGIN = "imported_from"
"""Key of a thread's metadata: the id that it had where it came from, if that could not be kept."""


class History(msgspec.Struct, kw_only=True):
    """A thread's record, and what is to be stored of it, in its order."""

    thread: Thread
    puts: Sequence[CheckpointPut | WritesPut]


Show = Callable[[Thread], Awaitable[Snapshot]]
"""Reads the state of a thread through its graph."""


async def keep(storage: Storage, history: History) -> bool:
    """Stores a thread with its history in one transaction. False, and nothing is stored: the thread is there already."""

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
    """Lets a thread's record show its newest state, as after the end of a run."""
    snapshot = await read(thread)
    if snapshot == EMPTY:
        return

    async def work(tx: Tx) -> None:
        status = await show_state(tx, thread.thread_id, snapshot, error=thread.error)
        await tx.threads.update(thread.thread_id, status=status)

    await storage.write(work)


def own_id(thread_id: str, namespace_of: Callable[[str], str]) -> str:
    """The id that a thread gets here: its own, if that is a UUID, else always the same one made of it."""
    return parse_id(thread_id) or namespace_of(thread_id)
