"""LangGraph's checkpoint saver on Threadloom's storage.

Values are encoded by the caller. Small plain values are stored in the checkpoint's row; each other channel value is a blob that
later checkpoints refer to until the channel changes.
"""

import contextlib
import copy
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from threadloom.checkpointer.body import dumps_body, loads_body, next_version
from threadloom.checkpointer.branching import Branching
from threadloom.checkpointer.cache import BIG_STATE, NOT_STORED, KnownRefs, SaverCache, known_refs
from threadloom.checkpointer.deferred_puts import DeferredPuts
from threadloom.checkpointer.delta_channels import delta_history
from threadloom.checkpointer.inline import inline_size
from threadloom.checkpointer.puts_in_progress import PutsInProgress
from threadloom.checkpointer.serde import ValueSerializer, dumps_channel
from threadloom.checkpointer.transactions import (
    FENCE,
    RUN_ID,
    RUN_METADATA,
    UNNAMED,
    Listing,
    as_of,
    config_of,
    deleting_run,
    off_the_loop,
    pruning,
    reading,
    row_size,
    seeking_input,
    walking,
    with_kept_input,
)
from threadloom.checkpointer.versions import Page, write_of
from threadloom.checkpointer.visible import is_shared, is_shown, kept_writes, opened_writes, with_goto, without_answered
from threadloom.codec import sorted_json
from threadloom.errors import StaleRefsError
from threadloom.large import LARGE, aside
from threadloom.storage.base import Storage, Tx
from threadloom.storage.lineage import Blob, CheckpointPut, CheckpointRow, WritesPut, builds_on_others


class Saver(BaseCheckpointSaver[str]):
    """Stores the checkpoints of all threads. A process has one saver; graphs get it, or clones that share its cache.

    What `aput` and `aput_writes` were given is durable when they return; within `deferring`, it is durable when the block ends.
    The methods without `a` are for code that runs on a worker thread (a node that is a plain function); on an event loop they
    raise RuntimeError.

    Args:
        storage: where everything is stored.
        serde: converts values to bytes and back; `ValueSerializer` by default.
    """

    def __init__(self, storage: Storage, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde or ValueSerializer())
        self._storage = storage
        self._cache = SaverCache()
        self.branching = Branching(storage, self._cache)
        self._deferred_of_fence: dict[int | None, DeferredPuts] = {}
        self.puts_in_progress = PutsInProgress()

    def over(self, storage: Storage) -> Self:
        """Returns the same saver on another storage, with an empty cache."""
        clone = copy.copy(self)
        clone._storage = storage
        clone._cache = SaverCache()
        clone._deferred_of_fence = {}
        return clone

    # --- putting ---

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Stores a checkpoint as a child of the one that `config` names.

        Raises:
            LostLeaseError: `config` belongs to a run that was cancelled, ended, or taken over.
            StorageError: the database failed.
        """
        checkpoint = with_kept_input(config, checkpoint)
        put = self._checkpoint_put(config, checkpoint, metadata, new_versions)
        deferred_puts = self._deferred_of_fence.get(put.fence)
        if deferred_puts is not None:
            known = known_refs(put, NOT_STORED, checkpoint)
            if deferred_puts.put(self._putting(put, known, checkpoint, new_versions)):
                if deferred_puts.is_long:
                    await deferred_puts.end()
                return self._remember(put, known)
        with self.puts_in_progress.storing(put.thread_id):
            try:
                era = await self._storage.write(lambda tx: tx.lineage.put(put), single=True)
            except StaleRefsError:
                put = self._with_all_values(put, checkpoint, new_versions)
                era = await self._storage.write(lambda tx: tx.lineage.put(put), single=True)
        return self._remember(put, known_refs(put, era, checkpoint))

    def _putting(
        self, put: CheckpointPut, known: KnownRefs, checkpoint: Checkpoint, new_versions: ChannelVersions
    ) -> Callable[[Tx], Awaitable[None]]:
        """Returns the put of a run that does not wait for it. The blobs that its checkpoint inherits may not be stored yet."""
        parent = (
            None
            if put.era is None or put.parent is None
            else self._cache.refs.get((put.thread_id, put.namespace, put.parent))
        )

        async def work(tx: Tx) -> None:
            current = put if parent is None else msgspec.structs.replace(put, era=parent.era)
            try:
                known.era = await tx.lineage.put(current)
            except StaleRefsError:
                # Checkpoints that were built on `known` meanwhile find it stale too.
                whole = self._with_all_values(put, checkpoint, new_versions)
                self._remember(whole, known_refs(whole, await tx.lineage.put(whole), checkpoint))

        return work

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Stores a checkpoint, as `aput`. For worker threads."""
        off_the_loop("aput")
        checkpoint = with_kept_input(config, checkpoint)
        put = self._checkpoint_put(config, checkpoint, metadata, new_versions)
        try:
            era = self._storage.write_now(lambda tx: tx.lineage.put(put), single=True)
        except StaleRefsError:
            put = self._with_all_values(put, checkpoint, new_versions)
            era = self._storage.write_now(lambda tx: tx.lineage.put(put), single=True)
        return self._remember(put, known_refs(put, era, checkpoint))

    def _checkpoint_put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> CheckpointPut:
        configurable = config["configurable"]
        thread_id: str = configurable["thread_id"]
        namespace: str = configurable.get("checkpoint_ns") or ""
        checkpoint_id = checkpoint["id"]
        parent: str | None = configurable.get("checkpoint_id")
        noted: dict[str, Any] = configurable.get(RUN_METADATA) or {}
        meta: dict[str, Any] = {**noted, **get_serializable_checkpoint_metadata(config, metadata)}
        meta.pop("thread_id", None)
        run_id = configurable.get(RUN_ID) or meta.get(RUN_ID)
        if configurable.get(UNNAMED):
            meta.pop(RUN_ID, None)
        known = None if parent is None else self._cache.refs.get((thread_id, namespace, parent))
        encoded = self._encode(checkpoint, new_versions, known)
        refs, blobs = encoded["refs"], encoded["blobs"]
        return CheckpointPut(
            thread_id=thread_id,
            namespace=namespace,
            checkpoint_id=checkpoint_id,
            parent=parent,
            meta=sorted_json(meta),
            messages=None if namespace else self._cache.versions.messages(refs, blobs, known.refs if known else {}),
            era=known.era if known is not None and builds_on_others(refs, blobs) else None,
            early=self._cache.put_begins(
                thread_id, namespace, checkpoint_id, meta.get("parents"), checkpoint.get("updated_channels")
            ),
            run_id=None if run_id is None else str(run_id),
            fence=configurable.get(FENCE),
            **encoded,
        )

    def _encode(self, checkpoint: Checkpoint, new_versions: ChannelVersions, known: KnownRefs | None) -> dict[str, Any]:
        """Returns the fields of a put that hold a checkpoint's values. `known`: its parent's."""
        inline: dict[str, Any] = {}
        small: dict[str, int] = {}
        refs: dict[str, int] = {}
        blobs: list[Blob] = []
        digests: dict[str, str] = {}
        versions = checkpoint["channel_versions"]
        inherited = {} if known is None else known.refs
        for channel, value in checkpoint["channel_values"].items():
            size = inline_size(value)
            if size:
                inline[channel] = value
                small[channel] = size if channel in new_versions else 0
                continue
            ref = inherited.get(channel)
            kept = ref is not None and channel not in new_versions and ref[0] == versions.get(channel)
            if kept and ref and (digest := self._cache.digests.get(ref[1])):
                refs[channel], digests[channel] = ref[1], digest
            else:
                type_, data = dumps_channel(self.serde, channel, value)
                blob = self._cache.versions.blob(self._storage.new_blob_id(), type_, data, ref[1] if ref else None)
                refs[channel], digests[channel] = blob.id, self._cache.note_digest(blob.id, type_, data)
                blobs.append(blob)
        type_, body = dumps_body(self.serde, checkpoint, inline)
        return {"body_type": type_, "body": body, "refs": refs, "blobs": blobs, "small": small, "values": digests}

    def _with_all_values(
        self, put: CheckpointPut, checkpoint: Checkpoint, new_versions: ChannelVersions
    ) -> CheckpointPut:
        """Returns the put with all values and no inherited ones: the thread has lost checkpoints since they were read."""
        return msgspec.structs.replace(put, era=None, **self._encode(checkpoint, new_versions, None))

    def _remember(self, put: CheckpointPut, known: KnownRefs) -> RunnableConfig:
        self._cache.refs.put((put.thread_id, put.namespace, put.checkpoint_id), known)
        if sum(blob.size for blob in put.blobs) > BIG_STATE:
            self._cache.big.put(put.thread_id, True)
        return config_of(put.thread_id, put.namespace, put.checkpoint_id)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Stores writes of a task under the checkpoint that `config` names. Raises as `aput`."""
        put = self._writes_put(config, writes, task_id, task_path)
        deferred_puts = self._deferred_of_fence.get(put.fence)
        if deferred_puts is None or not deferred_puts.put(lambda tx: tx.lineage.put_writes(put)):
            with self.puts_in_progress.storing(put.thread_id):
                await self._storage.write(lambda tx: tx.lineage.put_writes(put), single=True)
        elif deferred_puts.is_long or any(channel in WRITES_IDX_MAP for channel, _ in writes):
            await deferred_puts.end()  # LangGraph waits for the writes of errors before it calls their handlers

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Stores writes of a task, as `aput_writes`. For worker threads."""
        off_the_loop("aput_writes")
        put = self._writes_put(config, writes, task_id, task_path)
        self._storage.write_now(lambda tx: tx.lineage.put_writes(put), single=True)

    def _writes_put(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> WritesPut:
        configurable = config["configurable"]
        thread_id: str = configurable["thread_id"]
        namespace: str = configurable.get("checkpoint_ns") or ""
        checkpoint_id: str = configurable["checkpoint_id"]
        self._cache.writes_begin(thread_id, namespace, checkpoint_id)
        dumps = self._cache.dumps_of_writes((thread_id, namespace, checkpoint_id), self.serde)
        run_id = configurable.get(RUN_ID)
        return WritesPut(
            thread_id=thread_id,
            namespace=namespace,
            checkpoint_id=checkpoint_id,
            writes=kept_writes(writes, task_id, task_path, dumps),
            run_id=None if run_id is None else str(run_id),
            fence=configurable.get(FENCE),
        )

    @contextlib.asynccontextmanager
    async def deferring(self, fence: int | None) -> AsyncIterator[DeferredPuts]:
        """Within the block, the run that holds `fence` (None: callers without a fence) does not wait for its puts. The end of the
        block waits for them, unless `DeferredPuts.leave` was called.

        Raises:
            LostLeaseError, StorageError: a put failed with this error. Not raised if the block itself raised an error.
        """
        deferred_puts = self._deferred_of_fence[fence] = DeferredPuts(self._storage)
        try:
            yield deferred_puts
        except BaseException:
            with contextlib.suppress(Exception):
                await deferred_puts.end()  # later reads of the state must see all puts
            raise
        else:
            if not deferred_puts.is_left:
                await deferred_puts.end()
        finally:
            del self._deferred_of_fence[fence]

    @property
    def cache(self) -> SaverCache:
        """What this process knows of checkpoints."""
        return self._cache

    async def _own_puts(self, config: RunnableConfig | None) -> None:
        """Waits for the puts of the reading run, so that a run reads its own puts."""
        fence = (config or {}).get("configurable", {}).get(FENCE)
        if (deferred_puts := self._deferred_of_fence.get(fence)) is not None:
            await deferred_puts.end()

    # --- reading ---

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Returns the checkpoint that `config` names by id, or the newest of its namespace; None when there is none."""
        await self._own_puts(config)
        heavy = self._cache.big.get(config["configurable"]["thread_id"]) is not None
        row = await self._storage.read(reading(config), heavy=heavy)
        if row is None:
            return None
        return await self._opened(row, Page(), config, builds_on=True)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Returns a checkpoint, as `aget_tuple`. For worker threads."""
        off_the_loop("aget_tuple")
        row = self._storage.read_now(reading(config))
        return None if row is None else self._tuple(row, Page(), builds_on=True)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yields checkpoints, newest first, of the thread (and namespace, and id) that `config` names, or of all threads.

        `filter` is matched by containment with the metadata. A caller that stops early reads no further page.
        """
        await self._own_puts(config)
        listing = Listing(config, filter, before, limit)
        while (page := listing.next_page()) is not None:
            rows = listing.add(await self._storage.read(page, heavy=True))
            values = Page(shared=is_shared(config))
            for row in rows:
                yield await self._opened(row, values, config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yields checkpoints, as `alist`. For worker threads."""
        off_the_loop("alist")
        listing = Listing(config, filter, before, limit)
        while (page := listing.next_page()) is not None:
            values = Page()
            for row in listing.add(self._storage.read_now(page)):
                yield self._tuple(row, values)

    async def _opened(
        self, row: CheckpointRow, page: Page, config: RunnableConfig | None, *, builds_on: bool = False
    ) -> CheckpointTuple:
        """Returns a checkpoint as `_tuple` does, or in the form for display. A large one is deserialized off the event loop."""
        if for_show := bool(row.writes) and is_shown(config):
            name, read, at = row.thread_id, self._storage.read, as_of(config)
            row = await without_answered(
                row, self.serde, lambda namespace: read(lambda tx: tx.lineage.latest(name, namespace, at=at))
            )
        given = row, page, builds_on and not is_shown(config)
        opened = self._tuple(*given) if row_size(row) < LARGE else await aside(self._tuple, *given)
        return with_goto(opened, self.get_next_version) if for_show else opened

    def _tuple(self, row: CheckpointRow, page: Page, builds_on: bool = False) -> CheckpointTuple:
        """Returns a checkpoint in LangGraph's form.

        Args:
            row: the stored checkpoint.
            page: the values of the checkpoints that are read together.
            builds_on: whether the next checkpoint is likely to follow this one.
        """
        loads = self.serde.loads_typed
        checkpoint = loads_body(loads, row)
        values = checkpoint["channel_values"]
        versions = checkpoint["channel_versions"]
        size = 0
        refs: dict[str, tuple[Any, int]] = {}
        for channel, blob in row.refs.items():
            values[channel] = page.value(blob, row, loads)
            size += row.blobs[blob].size
            refs[channel] = (versions.get(channel), blob)
            if self._cache.digests.get(blob) is None:
                self._cache.note_digest(blob, row.blobs[blob].type, page.bytes[blob])
        self._cache.refs.put((row.thread_id, row.namespace, row.checkpoint_id), KnownRefs(row.era, refs))
        if builds_on:
            self._cache.versions.learn(row.refs.values(), row.blobs, page.bytes)
        if size > BIG_STATE:
            self._cache.big.put(row.thread_id, True)
        metadata: CheckpointMetadata = row.meta  # type: ignore[assignment]  # LangGraph's own dict, read from JSON
        return CheckpointTuple(
            config=config_of(row.thread_id, row.namespace, row.checkpoint_id),
            checkpoint=checkpoint,
            metadata=metadata,
            parent_config=None if row.parent is None else config_of(row.thread_id, row.namespace, row.parent),
            pending_writes=opened_writes(row.writes, lambda write: loads(write_of(write, row, page.bytes))),
        )

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Returns for each channel the nearest value stored in an ancestor, and all writes since, oldest first."""
        if not channels:
            return {}
        await self._own_puts(config)
        rows = await self._storage.read(walking(config, channels), heavy=True)
        return delta_history(rows, channels, self.serde.loads_typed)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Returns the history of delta channels, as `aget_delta_channel_history`. For worker threads."""
        if not channels:
            return {}
        off_the_loop("aget_delta_channel_history")
        return delta_history(self._storage.read_now(walking(config, channels)), channels, self.serde.loads_typed)

    async def input_before(self, config: RunnableConfig) -> str | None:
        """Returns the id of the nearest checkpoint with an input, from the root checkpoint of `config` back (`seeking_input`)."""
        await self._own_puts(config)
        return await self._storage.read(seeking_input(config), heavy=True)

    # --- whole threads ---

    async def adelete_thread(self, thread_id: str) -> None:
        """Deletes a thread's checkpoints and writes. Copies of the thread keep what they see."""
        await self._storage.write(lambda tx: tx.lineage.delete(thread_id), heavy=True)

    def delete_thread(self, thread_id: str) -> None:
        """Deletes a thread's history, as `adelete_thread`. For worker threads."""
        off_the_loop("adelete_thread")
        self._storage.write_now(lambda tx: tx.lineage.delete(thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Makes everything that a thread's history now contains visible in a thread without history, at constant cost.

        Raises:
            ValueError: the target has a history.
        """
        await self._storage.write(lambda tx: tx.lineage.copy(source_thread_id, target_thread_id))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copies a thread's history, as `acopy_thread`. For worker threads."""
        off_the_loop("acopy_thread")
        self._storage.write_now(lambda tx: tx.lineage.copy(source_thread_id, target_thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Removes the checkpoints of runs, with their writes, from the threads that the runs wrote on, but not from copies.

        Each run is a transaction of its own.
        """
        for run_id in run_ids:
            await self._storage.write(deleting_run(run_id), heavy=True)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Removes checkpoints of runs, as `adelete_for_runs`. For worker threads."""
        off_the_loop("adelete_for_runs")
        for run_id in run_ids:
            self._storage.write_now(deleting_run(run_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keeps the newest checkpoint of each namespace (`keep_latest`, with what delta channels need) or none (`delete`).

        Each thread is a transaction of its own.

        Raises:
            ValueError: the strategy is unknown.
        """
        for work in pruning(thread_ids, strategy):
            await self._storage.write(work, heavy=True)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Prunes threads, as `aprune`. For worker threads."""
        off_the_loop("aprune")
        for work in pruning(thread_ids, strategy):
            self._storage.write_now(work)

    def get_next_version(self, current: str | int | float | None, channel: None) -> str:
        """Returns the next version, as `next_version`."""
        return next_version(current)


# LangGraph reads these signatures at each run. Storing them avoids computing them each time.
Saver.aput_writes.__signature__ = inspect.signature(Saver.aput_writes)  # type: ignore[attr-defined]
Saver.put_writes.__signature__ = inspect.signature(Saver.put_writes)  # type: ignore[attr-defined]
