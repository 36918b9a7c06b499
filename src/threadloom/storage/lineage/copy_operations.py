"""Copying threads, written once on top of what each storage provides. See docs/contract/repository.md#copy-anywhere."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from threadloom.errors import UnstoredParentError
from threadloom.lineage.branches import current
from threadloom.lineage.pending import counting
from threadloom.lineage.retain import Node, missing_below, unstored
from threadloom.lineage.segments import UNBOUNDED, Chain, Edge, inherited_at
from threadloom.storage.lineage.primitives import Positions, Segments
from threadloom.storage.lineage.protocol import Lineage


class End(NamedTuple):
    """Where copies of a thread end.

    Attributes:
        edge: the edge of the copies; None if there is nothing to see.
        newest: the newest root checkpoint that the copies show.
        branch_at: a branch begins with the copies, which leaves at this position.
        outdated: the checkpoints of graphs around the last one that are not the newest of their namespaces through the edge.
        path: if there are any, the checkpoints that must be stored anew, so that all are the newest: from the root to the last.
    """

    edge: Edge | None
    newest: str | None
    branch_at: int | None = None
    outdated: Sequence[Node] = ()
    path: Sequence[Node] = ()


class CopyOperations(Segments, Lineage):
    """The part of `Lineage` that copies."""

    async def copy(
        self, source: str, target: str, *, at: str | None = None, namespace: str = "", keep: int | None = None
    ) -> str | None:
        await self.lock(source, target)
        return await self.copy_many(source, [target], at=at, namespace=namespace, keep=keep)

    async def copy_many(
        self,
        source: str,
        targets: Sequence[str],
        *,
        at: str | None = None,
        namespace: str = "",
        keep: int | None = None,
    ) -> str | None:
        await self.lock(source)
        end = await (self._whole(source) if at is None else self._cut(source, namespace, at))
        edge, branch_at = end.edge, end.branch_at
        if edge is not None and keep is not None:
            edge, branch_at = await self._keep(edge, end, keep), None
        elif edge is not None and end.outdated:
            edge = await self._renew(edge, end)
        if edge is not None and not await self.begin(targets, edge, branch_at):
            raise ValueError(f"a thread of {', '.join(targets[:3])} has a history")
        return end.newest

    async def root_of_cut(self, thread_id: str, namespace: str, checkpoint_id: str) -> tuple[str | None, int]:
        end = await self._cut(thread_id, namespace, checkpoint_id)
        assert end.edge is not None
        bare = any(not node.namespace for node in end.outdated)
        return end.newest, 0 if bare else end.edge[1]

    async def _whole(self, source: str) -> End:
        tip = await self.tip(source)
        if tip is None:
            return End(None, None)
        return End(tip.head, tip.newest) if tip.written else End(tip.inherited, tip.newest, tip.branch_at)

    async def _cut(self, source: str, namespace: str, at: str) -> End:
        """Returns the end of a copy at a checkpoint. For one of a subgraph, the checkpoints that it was made under are the newest
        of their namespaces, as they were at that moment.
        """
        edge = await self.place(source, at, namespace)
        if edge is None:
            raise KeyError(at)
        if not namespace:
            return End(edge, at)
        chain = await self._shown(edge)
        [cut] = await self.nearest(chain, namespace, at, 1)
        parents = {name: id_ for name, id_ in cut.meta.get("parents", {}).items() if name != namespace}
        newest = {node.namespace: node for node in await self.newest_of(chain, {"", *parents})}
        path: list[Node] = []
        for name, id_ in parents.items():
            if name in newest and newest[name].checkpoint_id == id_:
                path.append(newest[name])
            elif found := await self.nearest(chain, name, id_, 1):
                path += found
            else:
                raise UnstoredParentError(f"checkpoint {id_} of a parent graph of checkpoint {at} was not stored")
        root = parents.get("", newest[""].checkpoint_id if "" in newest else None)
        outdated = [node for node in path if node != newest.get(node.namespace)]
        return End(edge, root, outdated=outdated, path=[*path, cut] if outdated else ())

    async def _renew(self, edge: Edge, end: End) -> Edge:
        """Returns an edge through which a checkpoint and those around it are the newest of their namespaces. Those that were not
        have no pending writes, so their tasks are executed again, as when a run starts from an older checkpoint.
        """
        chain = await self.chain_from(edge)
        writes, _ = await self._around(chain, await self._shown(edge), end.path, bare=end.outdated)
        segment = await self.new_segment(edge)
        positions = await self.store_anew(segment, edge[1], [node.pos for node in end.path], writes, ())
        return segment, max(positions.values())

    async def _keep(self, edge: Edge, end: End, most: int) -> Edge | None:
        """Stores the newest root checkpoints anew, in a segment without parent. Returns the edge to it; None if there are none.

        Kept with them: the newest checkpoints of subgraphs that belong to them or keep their state between runs, pending writes,
        and what delta channels are rebuilt from.
        """
        chain = await self._shown(edge, end.branch_at)
        roots = [] if end.newest is None else await self.nearest(chain, "", end.newest, most)
        if not roots:
            return None
        newest = {node.namespace: node for node in await self.newest_inner(chain, roots[-1].pos)}
        newest |= {node.namespace: node for node in end.outdated if node.namespace}
        shown = {root.checkpoint_id for root in roots}
        inner = [
            node
            for node in newest.values()
            if ":" not in node.namespace or node.meta.get("parents", {}).get("") in shown
        ]
        kept = [*roots, *inner]
        for oldest, channels in [(roots[-1], missing_below(roots)), *((node, unstored(node)) for node in inner)]:
            if channels:
                kept += await self.ancestors(chain, oldest, channels)
        writes, orphans = await self._around(await self.chain_from(edge), chain, kept, bare=end.outdated)
        segment = await self.new_segment(None)
        positions = await self.store_anew(segment, 0, [node.pos for node in kept], writes, orphans)
        return segment, max(positions.values())

    async def _shown(self, edge: Edge, branch_at: int | None = None) -> Chain:
        """Returns what the newest branch of a copy with this edge shows.

        Args:
            branch_at: the copy begins a branch, which leaves at this position.
        """
        chain = await self.chain_from(edge)
        return current(chain, await self.branches(chain), UNBOUNDED if branch_at is None else branch_at)

    async def _around(
        self, chain: Chain, shown: Chain, kept: Collection[Node], *, bare: Collection[Node] = ()
    ) -> tuple[Positions, Positions]:
        """Returns the valid pending writes of checkpoints that are kept, except those of `bare`, and the checkpoints whose parent
        is not kept.

        Args:
            shown: the part of the chain whose pending writes are visible.
            kept: in the order of their positions, where a checkpoint was put twice.
        """
        ids = {(node.namespace, node.checkpoint_id) for node in kept}
        orphans = {node.pos for node in kept if node.parent and (node.namespace, node.parent) not in ids}
        ids -= {(node.namespace, node.checkpoint_id) for node in bare}
        # Pending writes above the segment of a checkpoint are not visible: the checkpoint was put again below them.
        lower = {(node.namespace, node.checkpoint_id): inherited_at(chain, node.pos) for node in kept}
        rows = [row for row in await self.pending_writes(shown, ids) if row[2] > lower[row[0][0], row[0][1]]]
        return [pos for _, _, pos in counting(rows)], orphans
