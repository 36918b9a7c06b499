"""The map of a thread: its turns, where each can be replaced, and its copies. No values are read.

See docs/contract/repository.md#map.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from threadloom.auth.authorize import Guard
from threadloom.checkpointer.versions import SPLIT_TYPE, value_of
from threadloom.clock import iso
from threadloom.errors import NotFound
from threadloom.ids import moment_of
from threadloom.large import aside
from threadloom.lineage.elements import Value
from threadloom.lineage.messages import CHANNEL, NO_MESSAGES, recorded
from threadloom.lineage.turns import Cut, RootCheckpoint, Turns, copies_by_turn, cut, unread
from threadloom.services.permission import known_thread
from threadloom.services.responses import BranchesResponse, TurnResponse
from threadloom.services.threads import may_read
from threadloom.storage.base import Storage, Tx
from threadloom.storage.threads import ThreadQuery
from threadloom.types import Caller

__all__ = ["BranchService", "Cut", "cut_of", "load_turns"]

_View = tuple[int, int, int] | None
"""What `Lineage.view` returns."""

MOST_CHECKPOINTS = 20_000
"""The newest root checkpoints of a thread that a map is made of."""

MOST_READ = 50
"""Checkpoints of a thread whose messages are read from their values, because their parents were removed."""

MOST_COPIES = 1000
"""The newest copies of a thread that a map names."""


KEPT_TURNS = 50_000
"""Turns of maps that a process caches. Each takes about 1 kB."""


class BranchService:
    """Makes maps of threads."""

    def __init__(self, *, storage: Storage, guard: Guard) -> None:
        self._storage = storage
        self._guard = guard
        self._maps: OrderedDict[str, _Map] = OrderedDict()
        self._kept = 0

    async def branches(self, caller: Caller, thread_id: str) -> BranchesResponse:
        """Returns the map of a thread. Copies that the caller may not read are left out.

        Raises:
            NotFound: there is no such thread.
        """
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})

        async def look(tx: Tx) -> tuple[_View, list[tuple[str, str | None]]]:
            await known_thread(tx, thread_id, rule)
            return await tx.lineage.view(thread_id), await tx.threads.direct_copies(thread_id, MOST_COPIES + 1)

        view, found = await self._storage.read(look)
        known = self._maps.get(thread_id)
        if known is None or known.view != view:
            known = await self._read(thread_id)
        copies = dict(reversed(found[:MOST_COPIES]))
        if copies and self._guard.asks(caller):
            readable = await self._readable(caller, list(copies))
            copies = {copy: at for copy, at in copies.items() if copy in readable}
        return known.response(thread_id, copies, truncated=len(found) > MOST_COPIES)

    async def _read(self, thread_id: str) -> "_Map":
        """Makes the map of a thread, and caches it."""

        async def work(tx: Tx) -> tuple[_View, list[RootCheckpoint], bool]:
            return await tx.lineage.view(thread_id), *await load_rows(tx, thread_id)

        made = await aside(_Map, *await self._storage.read(work, heavy=True))
        if (old := self._maps.pop(thread_id, None)) is not None:
            self._kept -= len(old.turns)
        self._maps[thread_id] = made
        self._kept += len(made.turns)
        while self._kept > KEPT_TURNS:
            self._kept -= len(self._maps.popitem(last=False)[1].turns)
        return made

    async def _readable(self, caller: Caller, thread_ids: Sequence[str]) -> set[str]:
        """Returns those of the threads that a caller may read."""
        query = ThreadQuery(ids=thread_ids, limit=len(thread_ids), with_state=False)
        threads = await self._storage.read(lambda tx: tx.threads.search(query), heavy=True)
        return {thread.thread_id for thread in threads if await may_read(self._guard, caller, thread)}


class _Map:
    """The map of a thread without its copies.

    Args:
        view: what the thread saw when its checkpoints were read.
        rows: the checkpoints.
        truncated: whether there are more.
    """

    def __init__(self, view: _View, rows: Sequence[RootCheckpoint], truncated: bool) -> None:
        self.view = view
        self.turns: list[TurnResponse] = []
        self._turns = turns = Turns(rows)
        self._truncated = truncated
        active = turns.active()
        for number, turn in enumerate(turns.turns):
            first = rows[turn.row]
            created = moment_of(first.checkpoint_id)
            self.turns.append(
                TurnResponse(
                    message_id=turn.id,
                    role=turn.role,
                    before=turns.before(turn),
                    after=first.checkpoint_id,
                    run_id=first.run_id,
                    created_at=None if created is None else iso(created),
                    parent=turn.before,
                    siblings=turns.siblings(number),
                    active=number in active,
                    copies=(),
                )
            )

    def response(self, thread_id: str, copies: Mapping[str, str | None], *, truncated: bool) -> BranchesResponse:
        """Returns the map with copies of the thread, each with the newest root checkpoint that was copied."""
        left, rest = copies_by_turn(self._turns, copies)
        turns = list(self.turns) if left else self.turns
        for number, thread_ids in left.items():
            turns[number] = msgspec.structs.replace(turns[number], copies=thread_ids)
        rows = self._turns.rows
        return BranchesResponse(
            thread_id=thread_id,
            head=rows[-1].checkpoint_id if rows else None,
            turns=turns,
            copies=rest,
            checkpoints=len(rows),
            truncated=truncated or self._truncated,
        )


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
