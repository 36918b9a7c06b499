"""Shows the tree of copies that a thread belongs to, and compares two histories (docs/contract/repository.md)."""

import asyncio
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from threadloom.auth.authorize import Guard
from threadloom.clock import iso
from threadloom.codec import from_json, to_json
from threadloom.errors import ApiError, NotFound
from threadloom.large import aside, is_heavy
from threadloom.lineage.merge_base import Divergence, Path, divergence
from threadloom.lineage.relatives import Shown, shown_tree
from threadloom.lineage.state_difference import channel_changes, message_changes
from threadloom.services.permission import visible_thread
from threadloom.services.responses import (
    CommonResponse,
    ComparedResponse,
    ComparisonResponse,
    FirstDifferenceResponse,
    LineageResponse,
    RelativeResponse,
)
from threadloom.services.state import StateService
from threadloom.services.tags import checkpoint_named
from threadloom.services.threads import missing
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.storage.lineage import Step
from threadloom.storage.threads import Relative
from threadloom.types import Caller

MOST_RELATIVES = 10_000
"""The largest number of threads in the answer of a lineage."""

FEW_RELATIVES = 1000
"""Threads of which an answer is made on the event loop. More take longer than others may wait."""

MOST_TITLE = 200
"""Characters of a title that a lineage shows."""

AT_ONCE = 100
"""Handlers that are called before other tasks run."""

MESSAGES = "messages"
"""The channel whose messages are aligned."""


class Side(NamedTuple):
    """One side of a comparison: a thread, and the checkpoint at which it is compared (None: the newest)."""

    thread_id: str
    checkpoint_id: str | None


class LineageService:
    """Reads of trees of copies. The caller must be permitted to read each thread of which anything is shown.

    Args:
        guard: authorizes callers.
        state: reads the states that are compared.
    """

    def __init__(self, *, storage: Storage, guard: Guard, state: StateService) -> None:
        self._storage = storage
        self._guard = guard
        self._state = state

    async def lineage(self, caller: Caller, thread_id: str) -> LineageResponse:
        """Returns the tree of copies that a thread belongs to.

        Raises:
            NotFound: there is no such thread.
        """
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})

        async def work(tx: Tx) -> Sequence[Relative]:
            if await visible_thread(tx, thread_id, rule) is None:
                raise missing(thread_id)
            return await tx.threads.family(thread_id, MOST_RELATIVES + 1)

        found = await self._storage.read(work, heavy=True)
        relatives = {one.seq: one for one in found[:MOST_RELATIVES]}
        readable = await self._readable(caller, list(relatives.values()))
        given = relatives, readable, len(found) > MOST_RELATIVES
        return await aside(_tree, *given) if len(relatives) > FEW_RELATIVES else _tree(*given)

    async def compare(self, caller: Caller, a: Side, b: Side, *, with_state: bool) -> ComparisonResponse:
        """Returns how two histories differ, and with `with_state` how their states differ.

        Raises:
            NotFound: there is no such thread, or it has no such root checkpoint.
        """
        rules = [await self._guard.ask(caller, "threads", "read", {"thread_id": side.thread_id}) for side in (a, b)]
        found = await self._storage.read(functools.partial(_diverged, a, b, rules), heavy=True)
        common = None
        if found.divergence.common is not None:
            shared = found.ancestor
            known = shared is not None and shared.seq in await self._readable(caller, [shared])
            common = CommonResponse(
                checkpoint_id=found.divergence.common,
                thread_id=shared.thread_id if known and shared is not None else None,
            )
        first = found.divergence
        differ = first.first_a is not None or first.first_b is not None
        answer = ComparisonResponse(
            a=ComparedResponse(thread_id=a.thread_id, head=found.heads[0], ahead=first.ahead),
            b=ComparedResponse(thread_id=b.thread_id, head=found.heads[1], ahead=first.behind),
            common=common,
            first_difference=FirstDifferenceResponse(a=first.first_a, b=first.first_b) if differ else None,
            equal=found.equal,
        )
        if with_state:
            answer.channels, answer.messages = await self._states(caller, a, b, found.heads)
        return answer

    async def _states(self, caller: Caller, a: Side, b: Side, heads: Sequence[str | None]) -> Any:
        """Returns the changes of channels and of messages."""
        values = []
        for side, head in zip((a, b), heads, strict=True):
            checkpoint = {} if head is None else {"checkpoint_id": head}
            values.append((await self._state.get(caller, side.thread_id, checkpoint=checkpoint))["values"])
        return await aside(_changes, *values) if any(map(is_heavy, values)) else _changes(*values)

    async def _readable(self, caller: Caller, relatives: Sequence[Relative]) -> set[int]:
        """Returns the numbers of the threads that a caller may read. Nothing is known of a deleted one but its id, so a rule on
        metadata never permits it.
        """
        if not self._guard.asks(caller):
            return {one.seq for one in relatives}
        found: set[int] = set()
        for number, one in enumerate(relatives, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                rule = await self._guard.ask(caller, "threads", "read", {"thread_id": one.thread_id})
            except ApiError as refused:
                if refused.status >= 500:
                    raise
                continue
            if permits(rule, one.metadata):
                found.add(one.seq)
        return found


class _Compared(NamedTuple):
    """What was read for a comparison. `ancestor` is the nearest thread that both threads descend from."""

    divergence: Divergence
    heads: tuple[str | None, str | None]
    equal: bool
    ancestor: Relative | None


async def _diverged(a: Side, b: Side, rules: Sequence[Filter | None], tx: Tx) -> _Compared:
    paths = []
    for side, rule in zip((a, b), rules, strict=True):
        if await visible_thread(tx, side.thread_id, rule) is None:
            raise missing(side.thread_id)
        paths.append(await _path(tx, side))
    heads = (paths[0].current, paths[1].current)
    found = await divergence(*paths)
    equal = heads[0] == heads[1]
    if equal and heads[0] is not None and a.thread_id != b.thread_id:
        pending = [await tx.lineage.pending_of(side.thread_id, heads[0]) for side in (a, b)]
        equal = pending[0] == pending[1]
    above = {one.seq for one in await tx.threads.ancestors(a.thread_id)}
    ancestor = next((one for one in await tx.threads.ancestors(b.thread_id) if one.seq in above), None)
    return _Compared(found, heads, equal, ancestor)


async def _path(tx: Tx, side: Side) -> Path:
    """Begins at the checkpoint of a side.

    Raises:
        NotFound: the thread has no such root checkpoint.
    """

    async def read(upto: int, limit: int) -> Sequence[Step]:
        return await tx.lineage.steps(side.thread_id, upto, limit)

    path = Path(read)
    if side.checkpoint_id is None:
        head = await tx.lineage.newest_root(side.thread_id)
    else:
        head = await checkpoint_named(tx, side.thread_id, side.checkpoint_id)
    if head is not None:
        place = await tx.lineage.place(side.thread_id, head)
        if place is None:
            raise NotFound(f"Checkpoint {head} not found")
        await path.start(head, place[1])
    return path


def _changes(a: Any, b: Any) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Returns the changes of channels and of messages. Values that are no object have no channels."""
    left, right = (from_json(to_json(values)) for values in (a, b))
    left, right = (values if isinstance(values, Mapping) else {} for values in (left, right))
    return channel_changes(left, right), message_changes(left.get(MESSAGES), right.get(MESSAGES))


def _tree(relatives: Mapping[int, Relative], readable: Collection[int], truncated: bool) -> LineageResponse:
    """Converts a tree to a response. The first of the relatives is the root."""
    tree = shown_tree({seq: one.parent for seq, one in relatives.items()}, readable)
    hidden = {one.seq for one in tree if one.hidden}
    root = next(iter(relatives.values()))
    return LineageResponse(
        root_thread_id=root.thread_id if root.seq in readable else None,
        threads=[_shown(one, relatives, hidden) for one in tree],
        truncated=truncated,
    )


def _shown(one: Shown, relatives: Mapping[int, Relative], hidden: Collection[int]) -> RelativeResponse:
    """Converts a thread of the tree to a response. `hidden` are the threads of which nothing is shown."""
    above = None if one.parent is None or one.parent in hidden else relatives[one.parent].thread_id
    shown = RelativeResponse(thread_id=None, parent=above, depth=one.depth, hidden=one.hidden)
    if one.hidden:
        return shown
    relative = relatives[one.seq]
    shown.thread_id = relative.thread_id
    shown.checkpoint_id = relative.checkpoint_id
    shown.at = None if relative.at is None else iso(relative.at)
    shown.deleted = relative.status is None
    shown.status = relative.status
    shown.updated_at = None if shown.deleted else iso(relative.updated_at)
    title = relative.metadata.get("title")
    shown.metadata = {"title": title[:MOST_TITLE]} if isinstance(title, str) else {}
    return shown
