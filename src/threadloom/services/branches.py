"""The map of a thread: its turns, where each can be replaced, and its copies. No values are read.

See docs/contract/repository.md#map.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from weakref import WeakValueDictionary

import msgspec

from threadloom.auth.authorize import Guard
from threadloom.checkpointer.versions import SPLIT_TYPE, value_of
from threadloom.clock import iso
from threadloom.errors import NotFound
from threadloom.ids import moment_of
from threadloom.large import aside
from threadloom.lineage.messages import CHANNEL, NO_MESSAGES, recorded
from threadloom.lineage.turns import Cut, RootCheckpoint, Turn, Turns, copies_by_turn, cut, unread
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
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

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
            known = await self._read(thread_id, view)
        copies = dict(reversed(found[:MOST_COPIES]))
        if copies and self._guard.asks(caller):
            readable = await self._readable(caller, list(copies))
            copies = {copy: at for copy, at in copies.items() if copy in readable}
        return known.response(thread_id, copies, truncated=len(found) > MOST_COPIES)

    async def _read(self, thread_id: str, view: _View) -> "_Map":
        """Makes the map of a thread, and caches it. A cached one is extended if only checkpoints were added since."""
        # One request at a time makes the map of a thread; those that waited for it take it.
        async with self._locks.setdefault(thread_id, asyncio.Lock()):
            known = self._maps.get(thread_id)
            if known is not None and known.view == view:
                return known

            async def work(tx: Tx) -> _Read:
                now = await tx.lineage.view(thread_id)
                if known is not None and known.may_extend(now):
                    more, truncated = await load_rows(tx, thread_id, known.rows)
                    if not truncated:
                        return _Read(now, [*known.rows, *more], False, known)
                return _Read(now, *await load_rows(tx, thread_id), None)

            made = await aside(_Map, await self._storage.read(work, heavy=True))
            self._keep(thread_id, made)
            return made

    def _keep(self, thread_id: str, made: "_Map") -> None:
        if (old := self._maps.pop(thread_id, None)) is not None:
            self._kept -= len(old.turns)
        self._maps[thread_id] = made
        self._kept += len(made.turns)
        while self._kept > KEPT_TURNS:
            self._kept -= len(self._maps.popitem(last=False)[1].turns)

    async def _readable(self, caller: Caller, thread_ids: Sequence[str]) -> set[str]:
        """Returns those of the threads that a caller may read."""
        query = ThreadQuery(ids=thread_ids, limit=len(thread_ids), with_state=False)
        threads = await self._storage.read(lambda tx: tx.threads.search(query), heavy=True)
        return {thread.thread_id for thread in threads if await may_read(self._guard, caller, thread)}


class _Read(msgspec.Struct, frozen=True):
    """What a map is made of: what the thread saw, its checkpoints, whether there are more, and the map of the first of them."""

    view: _View
    rows: list[RootCheckpoint]
    truncated: bool
    base: "_Map | None"


class _Map:
    """The map of a thread without its copies."""

    def __init__(self, read: _Read) -> None:
        self.view = read.view
        self.rows = read.rows
        self._truncated = read.truncated
        base: Turns | None = None if read.base is None else read.base._turns
        known: Sequence[TurnResponse] = () if read.base is None else read.base.turns
        self._turns: Turns = Turns(read.rows, base)
        turns = self._turns
        active = turns.active()
        self.turns: list[TurnResponse] = [
            shown
            if number < len(known)
            and (shown := known[number]).active == (number in active)
            and list(shown.siblings) == list(turns.siblings(number))
            and shown.message_id == turn.id
            else self._shown(number, turn, active=number in active)
            for number, turn in enumerate(turns.turns)
        ]

    def _shown(self, number: int, turn: Turn, *, active: bool) -> TurnResponse:
        first = self.rows[turn.row]
        created = moment_of(first.checkpoint_id)
        return TurnResponse(
            message_id=turn.id,
            role=turn.role,
            before=self._turns.before(turn),
            after=first.checkpoint_id,
            run_id=first.run_id,
            created_at=None if created is None else iso(created),
            parent=turn.before,
            siblings=self._turns.siblings(number),
            active=active,
            copies=(),
        )

    def may_extend(self, view: _View) -> bool:
        """Returns whether the map of what a thread sees now can be made of this one: nothing was removed or moved since."""
        return view is not None and self.view is not None and self.view[:2] == view[:2] and not self._truncated

    def response(self, thread_id: str, copies: Mapping[str, str | None], *, truncated: bool) -> BranchesResponse:
        """Returns the map with copies of the thread, each with the newest root checkpoint that was copied."""
        left, rest = copies_by_turn(self._turns, copies)
        turns = list(self.turns) if left else self.turns
        for number, thread_ids in left.items():
            turns[number] = msgspec.structs.replace(turns[number], copies=thread_ids)
        rows = self.rows
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


async def load_rows(tx: Tx, thread_id: str, known: Sequence[RootCheckpoint] = ()) -> tuple[list[RootCheckpoint], bool]:
    """Returns the newest root checkpoints of a thread, oldest first, and whether it has more than were read. Records of messages
    that cannot be resolved are replaced by what the values of these checkpoints show.

    Args:
        known: checkpoints that were read before. Only later ones are returned. If one of these was put again, none is returned,
            but that there are more.
    """
    most = MOST_CHECKPOINTS - len(known)
    rows = await tx.lineage.root_checkpoints(thread_id, most + 1, after=known[-1].pos if known else 0)
    before = {row.checkpoint_id for row in known}
    if known and (len(rows) > most or any(row.checkpoint_id in before for row in rows)):
        return [], True
    truncated = len(rows) > most
    rows = rows[-most:]
    missing = unread(rows, before)
    for row in missing[-MOST_READ:]:
        rows[row] = msgspec.structs.replace(rows[row], messages=await _read(tx, thread_id, rows[row].checkpoint_id))
    return rows, truncated or len(missing) > MOST_READ


async def _read(tx: Tx, thread_id: str, checkpoint_id: str) -> bytes:
    """Returns the record of a checkpoint's messages, made from their values."""
    row = await tx.lineage.get(thread_id, "", checkpoint_id)
    if row is None or CHANNEL not in row.refs:
        return NO_MESSAGES
    type_, data = value_of(row.refs[CHANNEL], row.blobs, {})
    return recorded(data) if type_ == SPLIT_TYPE else NO_MESSAGES
