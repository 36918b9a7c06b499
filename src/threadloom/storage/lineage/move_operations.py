"""Moving the head of a thread: written once, on top of what each storage provides. See decision 33."""

from collections.abc import Mapping
from typing import Any

from threadloom.lineage.segments import Edge
from threadloom.storage.lineage.former_heads import forget
from threadloom.storage.lineage.moves import MOST_FORMER_HEADS, FormerHead, Moved, MoveReason
from threadloom.storage.lineage.operations import LineageOperations


class MoveOperations(LineageOperations):
    """`LineageOperations` with the moves of heads."""

    async def showing(self, thread_id: str, checkpoint_id: str) -> str | None:
        if await self.place(thread_id, checkpoint_id) is not None:
            return thread_id
        for former in await self.former_heads(thread_id):
            if await self.place(former.head, checkpoint_id) is not None:
                return former.head
        return None

    async def reset(self, thread_id: str, at: str, *, now: int, record: Mapping[str, Any]) -> Moved:
        await self.lock(thread_id)
        head = await self.showing(thread_id, at)
        edge = None if head is None else await self.place(head, at)
        if edge is None:
            raise KeyError(at)
        return Moved(await self._leave(thread_id, edge, "reset", now, record), at)

    async def promote(self, thread_id: str, source: str, *, now: int, record: Mapping[str, Any]) -> Moved:
        await self.lock(thread_id, source)
        tip = await self.tip(source)
        edge = None if tip is None else tip.head if tip.written else tip.inherited
        if tip is None or edge is None:
            raise ValueError(f"thread {source} has no history")
        branch_at = None if tip.written else tip.branch_at
        return Moved(await self._leave(thread_id, edge, "promote", now, record, branch_at), tip.newest)

    async def undo(self, thread_id: str, *, now: int, record: Mapping[str, Any]) -> FormerHead | None:
        await self.lock(thread_id)
        former = next(iter(await self.former_heads(thread_id)), None)
        tip = await self.tip(thread_id)
        if former is None or tip is None:
            return None
        [(segment, _), *_] = await self.chain(former.head)
        await self.move_head(thread_id, segment)
        await self.move_head(former.head, tip.head[0])
        left = FormerHead(head=former.head, checkpoint_id=tip.newest, moved_at=now, reason="undo", record=record)
        await self.replace_former(left)
        return former

    async def _leave(
        self,
        thread_id: str,
        edge: Edge,
        reason: MoveReason,
        now: int,
        record: Mapping[str, Any],
        branch_at: int | None = None,
    ) -> str | None:
        """Gives a thread a new head segment with an edge. Its head becomes a former head. Returns the newest root checkpoint that
        it saw.
        """
        tip = await self.tip(thread_id)
        left = await self.new_segment(None) if tip is None else tip.head[0]
        newest = None if tip is None else tip.newest
        segment = await self.new_segment(edge, branch_at)
        head = f"{thread_id}@{segment}"
        await self.move_head(thread_id, segment)
        former = FormerHead(head=head, checkpoint_id=newest, moved_at=now, reason=reason, record=record)
        await self.keep_former(thread_id, segment, left, former)
        for old in (await self.former_heads(thread_id))[MOST_FORMER_HEADS:]:
            await forget(self, old)
        return newest
