"""The map of a thread: its turns, where each can be replaced, and its copies. No values are read.

See docs/contract/repository.md#map.
"""

import msgspec

from threadloom.checkpointer.versions import SPLIT_TYPE, value_of
from threadloom.errors import NotFound
from threadloom.lineage.elements import Value
from threadloom.lineage.messages import CHANNEL, NO_MESSAGES, recorded
from threadloom.lineage.turns import Cut, RootCheckpoint, Turns, cut, unread
from threadloom.storage.base import Tx

__all__ = ["Cut", "cut_of", "load_turns"]

MOST_CHECKPOINTS = 20_000
"""The newest root checkpoints of a thread that a map is made of."""

MOST_READ = 50
"""Checkpoints of a thread whose messages are read from their values, because their parents were removed."""


async def cut_of(tx: Tx, thread_id: str, message_id: str, at: str | None = None) -> Cut:
    """Returns where a thread is cut at a message. The cut never separates tool calls from their results.

    Args:
        at: `before` or `after` the message. None: before a human message, after any other.

    Raises:
        NotFound: the thread has no such message.
    """
    turns, _ = await load_turns(tx, thread_id)
    found = cut(turns, message_id, at)
    if found is None:
        raise NotFound(f"Message {message_id} not found")
    return found


async def load_turns(tx: Tx, thread_id: str) -> tuple[Turns, bool]:
    """Returns the turns of a thread, and whether it has more checkpoints than were read."""
    rows, truncated = await load_rows(tx, thread_id)
    return Turns(rows), truncated


async def load_rows(tx: Tx, thread_id: str) -> tuple[list[RootCheckpoint], bool]:
    """Returns the newest root checkpoints of a thread, oldest first, and whether it has more than were read. Records of messages
    that cannot be resolved are replaced by what the values of these checkpoints show.
    """
    rows = await tx.lineage.root_checkpoints(thread_id, MOST_CHECKPOINTS + 1)
    truncated = len(rows) > MOST_CHECKPOINTS
    rows = rows[-MOST_CHECKPOINTS:]
    missing = unread(rows)
    for row in missing[-MOST_READ:]:
        rows[row] = msgspec.structs.replace(rows[row], messages=await _read(tx, thread_id, rows[row].checkpoint_id))
    return rows, truncated or len(missing) > MOST_READ


async def _read(tx: Tx, thread_id: str, checkpoint_id: str) -> bytes:
    """Returns the record of a checkpoint's messages, made from their values."""
    row = await tx.lineage.get(thread_id, "", checkpoint_id)
    if row is None or CHANNEL not in row.refs:
        return NO_MESSAGES
    type_, data = value_of(row.refs[CHANNEL], row.blobs, {})
    return recorded(Value(data), None) if type_ == SPLIT_TYPE else NO_MESSAGES
