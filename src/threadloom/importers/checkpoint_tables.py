"""Reads threads from the tables of the package `langgraph-checkpoint-postgres`: `checkpoints`, `checkpoint_blobs`,
`checkpoint_writes`.

The bytes of values are imported unchanged, because Threadloom uses the same serializer. Values that the package stores in the
checkpoint's row and Threadloom does not (long texts) are stored as blobs. Pending sends, which older versions stored with the
checkpoint before, are put where the package puts them when it reads.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import TASKS

from threadloom.checkpointer.body import dumps_body
from threadloom.checkpointer.inline import inline_size
from threadloom.checkpointer.versions import SPLIT_TYPE, Versions
from threadloom.clock import from_iso
from threadloom.codec import from_json, sorted_json
from threadloom.errors import MissingPackageError, StorageError
from threadloom.ids import default_assistant_id
from threadloom.importers.history import ORIGIN, History, own_id
from threadloom.lineage.messages import CHANNEL, NO_MESSAGES, recorded
from threadloom.storage.lineage import Blob, CheckpointPut, PendingWrite, WritesPut
from threadloom.storage.lineage.digests import value_digest
from threadloom.storage.named import load
from threadloom.types import Thread

SQL = load(__package__, "checkpoint_tables.sql")

NAMESPACE = uuid.UUID("4b1d1c0e-6a4f-5d55-9a3e-6d2a1f0c7b11")
"""Namespace of the ids of threads whose original ids are not UUIDs."""

INTERNAL = ("thread_id", "checkpoint_ns", "checkpoint_id")
"""Keys of a checkpoint's metadata that name its thread, namespace and id. They are not copied."""


class CheckpointTables:
    """Reads one database, in one snapshot that is taken on entering.

    Args:
        uri: the database, `postgresql://…`.
        serde: the serializer that wrote the values.
        new_blob_id: returns a new blob id.
        graph_id: the graph of threads whose checkpoints do not name one.
    """

    def __init__(self, uri: str, *, serde: SerializerProtocol, new_blob_id: Any, graph_id: str | None = None) -> None:
        self._uri = uri
        self._serde = serde
        self._new_blob_id = new_blob_id
        self._graph_id = graph_id
        self._connection: Any = None
        self._snapshot: Any = None
        self._paths = "''"

    async def __aenter__(self) -> "CheckpointTables":
        """
        Raises:
            MissingPackageError: asyncpg is not installed.
            StorageError: the database cannot be reached, or has no such tables.
        """
        try:
            import asyncpg
        except ModuleNotFoundError as error:
            raise MissingPackageError("--from-postgres", "asyncpg", "threadloom[postgres]") from error

        try:
            self._connection = await asyncpg.connect(self._uri)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise StorageError(f"the database cannot be reached: {error}") from error
        self._snapshot = self._connection.transaction(isolation="repeatable_read", readonly=True)
        await self._snapshot.start()
        if await self._connection.fetchval("SELECT to_regclass('checkpoints')") is None:
            await self.__aexit__()
            raise StorageError("there is no table `checkpoints` of langgraph-checkpoint-postgres in the database")
        # Tables of older versions have no `task_path`.
        if await self._connection.fetchval(SQL["has_paths"]):
            self._paths = "task_path"
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._connection.close()

    async def thread_ids(self) -> list[str]:
        """Returns the ids of all threads, oldest first."""
        return [row[0] for row in await self._connection.fetch(SQL["threads"])]

    async def count_checkpoints(self) -> int:
        number: int = await self._connection.fetchval(SQL["count"])
        return number

    async def history(self, thread_id: str) -> History:
        """Returns the history of a thread, ready to be stored."""
        rows = await self._connection.fetch(SQL["checkpoints"], thread_id)
        blobs: dict[tuple[str, str, str], tuple[str, bytes]] = {
            (namespace, channel, version): (type_, blob or b"")
            for namespace, channel, version, type_, blob in await self._connection.fetch(SQL["blobs"], thread_id)
            if type_ != "empty"
        }
        writes: dict[tuple[str, str], list[PendingWrite]] = {}
        for namespace, checkpoint_id, *write in await self._connection.fetch(
            SQL["writes"].replace("task_path", self._paths), thread_id
        ):
            writes.setdefault((namespace, checkpoint_id), []).append(PendingWrite(*write))
        return _Reading(
            thread_id=thread_id,
            serde=self._serde,
            new_blob_id=self._new_blob_id,
            graph_id=self._graph_id,
            blobs=blobs,
            writes=writes,
        ).history(rows)


class _Reading:
    """Converts the rows of one thread."""

    def __init__(
        self,
        *,
        thread_id: str,
        serde: SerializerProtocol,
        new_blob_id: Any,
        graph_id: str | None,
        blobs: Mapping[tuple[str, str, str], tuple[str, bytes]],
        writes: Mapping[tuple[str, str], Sequence[PendingWrite]],
    ) -> None:
        self._source_id = thread_id
        self._thread_id = own_id(thread_id, lambda text: str(uuid.uuid5(NAMESPACE, text)))
        self._serde = serde
        self._new_blob_id = new_blob_id
        self._graph_id = graph_id
        self._blobs = blobs
        self._writes = writes
        self._stored: dict[tuple[str, str, str], int] = {}
        self._digests: dict[int, str] = {}
        """The blob ids of the values that were converted already, by namespace, channel and version."""
        self._encoder = Versions()
        self._versions: dict[tuple[str, str], Mapping[str, Any]] = {}
        """The channel versions of the checkpoints that were read, by namespace and id."""

    def history(self, rows: Sequence[Sequence[Any]]) -> History:
        puts: list[CheckpointPut | WritesPut] = []
        moments: list[int] = []
        for namespace, checkpoint_id, parent, checkpoint_json, metadata_json in rows:
            checkpoint, metadata = from_json(checkpoint_json), from_json(metadata_json)
            puts.append(self._checkpoint(namespace, checkpoint_id, parent, checkpoint, metadata))
            if namespace == "":
                moments.append(from_iso(checkpoint["ts"]))
                self._graph_id = metadata.get("graph_id") or self._graph_id
            if writes := self._writes.get((namespace, checkpoint_id)):
                puts.append(
                    WritesPut(
                        thread_id=self._thread_id, namespace=namespace, checkpoint_id=checkpoint_id, writes=writes
                    )
                )
        return History(thread=self._thread(moments), puts=puts)

    def _thread(self, moments: Sequence[int]) -> Thread:
        metadata: dict[str, Any] = {}
        if self._graph_id is not None:
            metadata = {"graph_id": self._graph_id, "assistant_id": default_assistant_id(self._graph_id)}
        if self._thread_id != self._source_id:
            metadata[ORIGIN] = self._source_id
        first, last = (min(moments), max(moments)) if moments else (0, 0)
        return Thread(
            thread_id=self._thread_id, created_at=first, updated_at=last, state_updated_at=last, metadata=metadata
        )

    def _checkpoint(
        self,
        namespace: str,
        checkpoint_id: str,
        parent: str | None,
        checkpoint: dict[str, Any],
        metadata: dict[str, Any],
    ) -> CheckpointPut:
        inline: dict[str, Any] = checkpoint.get("channel_values") or {}
        versions: dict[str, Any] = checkpoint["channel_versions"]
        before = self._versions.get((namespace, parent or ""), {})
        if checkpoint["v"] < 4 and parent is not None:
            self._take_sends(namespace, parent, checkpoint)
        small: dict[str, int] = {}
        refs: dict[str, int] = {}
        blobs: list[Blob] = []
        kept: dict[str, Any] = {}
        for channel, version in versions.items():
            place = (namespace, channel, str(version))
            size = inline_size(inline[channel]) if channel in inline and place not in self._blobs else 0
            if size:
                kept[channel] = inline[channel]
                small[channel] = size if before.get(channel) != version else 0
                continue
            if place not in self._stored:
                found = self._blobs.get(place)
                if found is None:
                    if channel not in inline:
                        continue  # the channel was empty
                    found = self._serde.dumps_typed(inline[channel])
                id_ = self._stored[place] = self._new_blob_id()
                self._digests[id_] = value_digest(*found)
                earlier = self._stored.get((namespace, channel, str(before.get(channel))))
                blobs.append(self._encoder.blob(id_, *found, earlier))
            refs[channel] = self._stored[place]
        self._versions[namespace, checkpoint_id] = versions
        body_type, body = dumps_body(self._serde, checkpoint, kept)
        return CheckpointPut(
            thread_id=self._thread_id,
            namespace=namespace,
            checkpoint_id=checkpoint_id,
            parent=parent,
            body_type=body_type,
            body=body,
            refs=refs,
            blobs=blobs,
            meta=sorted_json({key: value for key, value in metadata.items() if key not in INTERNAL}),
            small=small,
            values={channel: self._digests[blob] for channel, blob in refs.items()},
            messages=None if namespace else self._messages(versions, before, refs, blobs),
        )

    def _messages(
        self, versions: Mapping[str, Any], before: Mapping[str, Any], refs: Mapping[str, int], blobs: Sequence[Blob]
    ) -> bytes | None:
        """Returns the record of the messages of a root checkpoint; None if its parent has the same version of them."""
        version, earlier = versions.get(CHANNEL), before.get(CHANNEL)
        if version == earlier:
            return None
        if CHANNEL not in refs or any(blob.id == refs[CHANNEL] for blob in blobs):
            known = self._stored.get(("", CHANNEL, str(earlier)))
            return self._encoder.messages(refs, blobs, {} if known is None else {CHANNEL: (earlier, known)})
        # The version was stored with a checkpoint of another branch.
        type_, data = self._blobs[("", CHANNEL, str(version))]
        return recorded(data) if type_ == SPLIT_TYPE else NO_MESSAGES

    def _take_sends(self, namespace: str, parent: str, checkpoint: dict[str, Any]) -> None:
        """Moves the sends of the step before into a channel value, as the checkpoint format has them from version 4 on."""
        sends = [write for write in self._writes.get((namespace, parent), ()) if write.channel == TASKS]
        if not sends:
            return
        versions = checkpoint["channel_versions"]
        version = max(versions.values()) if versions else 1
        versions[TASKS] = version
        values = [self._serde.loads_typed((write.type, write.data)) for write in sends]
        self._blobs = {**self._blobs, (namespace, TASKS, str(version)): self._serde.dumps_typed(values)}
