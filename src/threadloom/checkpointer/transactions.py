"""The saver's transactions, and conversions between configs and checkpoint keys."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, get_checkpoint_id
from langgraph.constants import START

from threadloom.lineage.segments import UNBOUNDED
from threadloom.storage.base import Tx
from threadloom.storage.lineage import CheckpointRow

RUN_ID = "run_id"
"""Key of `configurable`: the run that writes."""

FENCE = "__run_fence"
"""Key of `configurable`: the fence that the run must still hold to write. Never stored, never shown."""

RUN_METADATA = "__run_noted"
"""Key of `configurable`: additional metadata of each checkpoint. Not shown as a key of its own."""

UNNAMED = "__run_unnamed"
"""Key of `configurable`: true for a checkpoint that begins a run, so that its metadata must not name the run."""

INPUT_LEFT = "__run_input_left"
"""Key of `configurable`: a function that takes a graph's namespace and input and returns the part of the input that is kept.
Never stored, never shown.
"""

AT_END_OF = "__at_end_of"
"""Key of `configurable`: the ids of a thread and of a run of it. The checkpoint is read without what later runs wrote under it.
Never stored, never shown."""

AS_OF = "__as_of"
"""Key of `configurable`: a position. The newest checkpoint is read as the thread was there. Never stored, never shown."""

IN_STEP = "__in_step"
"""Key of `configurable`: true for a run that goes on in the middle of a step. LangGraph then takes the newest state of each
subgraph for unfinished work of this step. If it is of an earlier step, the subgraph has yet to begin. Never stored, never
shown."""

_RESUMING = "__pregel_resuming"
"""Key of `configurable` that tells a subgraph to go on with its state, instead of beginning with its input."""

PAGE = 50
"""Checkpoints that a listing reads at once."""

MOST_STEPS = 32
"""Maximum number of checkpoints that the search for an input reads. Each is read with its values."""

Reading = Callable[[Tx], Awaitable[Sequence[CheckpointRow]]]
Writing = Callable[[Tx], Awaitable[None]]


def config_of(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    """Returns the config that names a checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


def with_kept_input(config: RunnableConfig, checkpoint: Checkpoint) -> Checkpoint:
    """Returns the checkpoint with only the kept part of the input, if it holds the input of a graph that is about to begin."""
    left, values = config["configurable"].get(INPUT_LEFT), checkpoint["channel_values"]
    if left is None or START not in values:
        return checkpoint
    kept = {**values, START: left(config["configurable"].get("checkpoint_ns") or "", values[START])}
    return {**checkpoint, "channel_values": kept}


def row_size(row: CheckpointRow) -> int:
    """Returns the bytes of the values of a checkpoint and of its pending writes."""
    size = len(row.body)
    for blob in row.blobs.values():
        size += len(blob.data)
    for write in row.writes:
        size += len(write.data)
    return size


def named(config: RunnableConfig) -> tuple[str, str, str | None]:
    """Returns thread, namespace and, if there is one, checkpoint id of a config."""
    configurable = config["configurable"]
    return configurable["thread_id"], configurable.get("checkpoint_ns") or "", configurable.get("checkpoint_id")


def as_of(config: Mapping[str, Any] | None) -> int:
    """Returns the position as of which a config reads; beyond all positions if it names none."""
    at: int | None = (config or {}).get("configurable", {}).get(AS_OF)
    return UNBOUNDED if at is None else at


def reading(config: RunnableConfig) -> Callable[[Tx], Awaitable[CheckpointRow | None]]:
    """Returns the transaction that reads the checkpoint that a config names by id, or else the newest of its namespace."""
    thread_id, namespace, checkpoint_id = named(config)
    configurable = config["configurable"]
    run: Any = configurable.get(AT_END_OF)
    at = as_of(config)

    def work(tx: Tx) -> Awaitable[CheckpointRow | None]:
        if checkpoint_id:
            return tx.lineage.get(thread_id, namespace, checkpoint_id)
        return tx.lineage.latest(thread_id, namespace, at=at)

    async def work_at_end(tx: Tx) -> CheckpointRow | None:
        row = await work(tx)
        if row is None or not row.writes:
            return row
        end = await tx.lineage.end_of_run(*run)
        return msgspec.structs.replace(row, writes=[write for write in row.writes if write.pos < end])

    async def work_in_step(tx: Tx) -> CheckpointRow | None:
        row = await work(tx)
        if row is not None and row.meta.get("parents") != configurable.get("checkpoint_map"):
            configurable.pop(_RESUMING, None)  # LangGraph does the same to subgraphs that it begins anew
        return row

    if namespace and not checkpoint_id and configurable.get(IN_STEP):
        return work_in_step
    return work if run is None else work_at_end


def walking(config: RunnableConfig, channels: Collection[str]) -> Reading:
    """Returns the transaction that reads the ancestors of the checkpoint that a config names, as `Lineage.path` does."""
    thread_id, namespace, given = named(config)

    async def work(tx: Tx) -> Sequence[CheckpointRow]:
        checkpoint_id = given
        if not checkpoint_id:
            newest = await tx.lineage.latest(thread_id, namespace)
            if newest is None:
                return []
            checkpoint_id = newest.checkpoint_id
        return await tx.lineage.path(thread_id, namespace, checkpoint_id, channels)

    return work


def seeking_input(config: RunnableConfig) -> Callable[[Tx], Awaitable[str | None]]:
    """Returns the transaction that finds the nearest checkpoint with an input, among the root checkpoint that a config names and
    its ancestors: its turn began there. It returns None when there is none within `MOST_STEPS`, or the history was pruned.
    """
    thread_id, _, checkpoint_id = named(config)

    async def work(tx: Tx) -> str | None:
        at = checkpoint_id
        for _ in range(MOST_STEPS):
            row = None if at is None else await tx.lineage.get(thread_id, "", at)
            if row is None:
                return None
            if row.meta.get("source") == "input":
                return row.checkpoint_id
            at = row.parent
        return None

    return work


def deleting_run(run_id: str) -> Writing:
    """Returns the transaction that removes the checkpoints of a run from the threads that it wrote on."""

    async def work(tx: Tx) -> None:
        for thread_id in await tx.lineage.threads_of_run(run_id):
            await tx.lineage.delete_run(thread_id, run_id)

    return work


def pruning(thread_ids: Sequence[str], strategy: str) -> Iterator[Writing]:
    """Yields one transaction for each thread, so that others need not wait for all of them, and few locks are held at once.

    Raises:
        ValueError: the strategy is unknown.
    """
    if strategy not in ("keep_latest", "delete"):
        raise ValueError(f"there is no prune strategy {strategy!r}: keep_latest, delete")

    def of(thread_id: str) -> Writing:
        if strategy == "delete":
            return lambda tx: tx.lineage.delete(thread_id)
        return lambda tx: tx.lineage.prune(thread_id)

    return map(of, dict.fromkeys(thread_ids))


class Listing:
    """A listing in progress. It provides the reads of its pages one after the other."""

    def __init__(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> None:
        self._configurable = None if config is None else config["configurable"]
        self._metadata = filter or None
        self._before = get_checkpoint_id(before) if before else None
        self._left = limit
        self._done = limit is not None and limit <= 0

    def next_page(self) -> Reading | None:
        """Returns the transaction that reads the next page, None when there is none."""
        if self._done:
            return None
        if self._configurable is None:
            return lambda tx: tx.lineage.everything(before=self._before, limit=self._left, metadata=self._metadata)
        place = self._configurable
        return lambda tx: tx.lineage.history(
            place["thread_id"],
            namespace=place.get("checkpoint_ns"),
            checkpoint_id=place.get("checkpoint_id") or None,
            before=self._before,
            limit=self._size(),
            metadata=self._metadata,
            # A run that replays reads the newest state of a subgraph in this way.
            branch=bool(place.get("checkpoint_ns") and place.get(FENCE)),
        )

    def _size(self) -> int:
        return PAGE if self._left is None else min(PAGE, self._left)

    def add(self, rows: Sequence[CheckpointRow]) -> Sequence[CheckpointRow]:
        """Records the rows of a page, and returns them."""
        self._done = self._configurable is None or len(rows) < self._size()
        if self._left is not None:
            self._left -= len(rows)
            self._done = self._done or self._left <= 0
        if rows:
            self._before = rows[-1].checkpoint_id
        return rows


def off_the_loop(instead: str) -> None:
    """Checks that the current thread may wait for the database.

    Raises:
        RuntimeError: this thread runs an event loop, which must not wait for the database.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"A synchronous call to the checkpointer on the event loop: await `{instead}` (or a graph's async method) instead."
    )
