"""Branches: forks in place that subgraphs see rightly (setting `isolate_forks`).

LangGraph loads the newest checkpoint of a subgraph. After a fork in place that is one of the branch that was left. So a run that
starts from an earlier checkpoint begins a branch, on which the thread is as it was at that checkpoint
(`lineage.branches`). The checkpoint is then the thread's newest, as on a copy that ends there.
"""

from collections.abc import Mapping
from typing import Any

from threadloom.checkpointer.cache import SaverCache
from threadloom.checkpointer.transactions import IN_STEP
from threadloom.errors import LostLeaseError
from threadloom.storage.base import Storage, Tx


class Branching:
    """Begins branches.

    Args:
        cache: what the process knows of threads.

    Attributes:
        isolates: the setting. Without it, no run or update begins a branch.
    """

    def __init__(self, storage: Storage, cache: SaverCache) -> None:
        self._storage = storage
        self._cache = cache
        self.isolates = False

    async def point(self, configurable: Mapping[str, Any], *, again: bool = False) -> int | None:
        """Returns the position at which a branch has to begin for a run or update with this config; None for no branch. See
        `Lineage.branch_point`.
        """
        named = _named(configurable)
        if not named or not self.isolates:
            return None
        thread_id, namespace = configurable["thread_id"], max(named, key=len)
        return await self._storage.read(
            lambda tx: tx.lineage.branch_point(thread_id, namespace, named[namespace], again=again)
        )

    async def begin(self, configurable: dict[str, Any], *, run_id: str, fence: int | None) -> bool:
        """Begins a branch for a run that starts from an earlier checkpoint. Returns False, without a change, if it needs none.

        A run from inside a subgraph goes on where the thread now stands: its config then names no checkpoint. LangGraph would
        begin the subgraph anew. A run from a root checkpoint repeats the tasks of this checkpoint: its config still names it.

        Raises:
            LostLeaseError: the run no longer holds the fence.
        """
        at = await self.point(configurable, again=True)
        if at is None:
            return False
        thread_id: str = configurable["thread_id"]

        async def work(tx: Tx) -> None:
            if fence is not None and not await tx.runs.holds(run_id, fence):
                raise LostLeaseError(f"run {run_id} no longer holds fence {fence}")
            await tx.lineage.begin_branch(thread_id, at, run_id=run_id)

        await self._storage.write(work)
        self._cache.forget_newest(thread_id)
        if any(_named(configurable)):
            configurable |= {"checkpoint_ns": "", IN_STEP: True}
            for key in ("checkpoint_id", "checkpoint_map"):
                configurable.pop(key, None)
        return True

    async def end_of_step(self, configurable: Mapping[str, Any]) -> int | None:
        """Returns the position up to which subgraphs are shown with the checkpoint that a config names; None for all that they
        have. See `Lineage.end_of_step`.
        """
        checkpoint_id = configurable.get("checkpoint_id")
        if not checkpoint_id or not self.isolates:
            return None
        thread_id, namespace = configurable["thread_id"], configurable.get("checkpoint_ns") or ""
        return await self._storage.read(lambda tx: tx.lineage.end_of_step(thread_id, namespace, checkpoint_id))


def _named(configurable: Mapping[str, Any]) -> dict[str, str]:
    """Returns the checkpoints that a config names, by their namespaces: one, and those that it was made under."""
    named = {name: id_ for name, id_ in (configurable.get("checkpoint_map") or {}).items() if id_}
    if configurable.get("checkpoint_id"):
        named[configurable.get("checkpoint_ns") or ""] = configurable["checkpoint_id"]
    return named
