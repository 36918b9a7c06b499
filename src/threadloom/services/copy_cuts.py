"""Where a copy ends, and the state that it then shows: the checkpoint that a request names, of the root graph or of a subgraph.

See docs/contract/repository.md#copy-anywhere.
"""

import logging
from typing import Any

import msgspec
from msgspec import UNSET

from threadloom.checkpointer import Saver
from threadloom.checkpointer.messages import message_json
from threadloom.codec import Fragment
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.errors import Conflict, Invalid, NotFound, UnstoredParentError
from threadloom.services.branches import cut_of
from threadloom.services.requests import ThreadCopy
from threadloom.services.responses import CutResponse
from threadloom.services.tags import checkpoint_named
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.storage.base import Storage, Tx
from threadloom.storage.lineage.draft import Draft
from threadloom.types import Caller, Thread

log = logging.getLogger("threadloom.copying")


class CopyCut(msgspec.Struct, frozen=True, kw_only=True):
    """The place at which a copy ends.

    Attributes:
        checkpoint_id: the last checkpoint of the copy; None: before all.
        namespace: of that checkpoint; "" for the root graph.
        root: the newest root checkpoint of the copy, and the position up to which the copy sees pending writes of it.
        message_id, at: the message that the request named, and on which side of it the copy ends.
        moved: whether it ends before the message that makes tool calls, to which the named message belongs.
        message_json: a human's message that the copy ends before, as JSON.
    """

    checkpoint_id: str | None
    namespace: str = ""
    root: tuple[str, int] | None = None
    message_id: str | None = None
    at: str | None = None
    moved: bool = False
    message_json: bytes | None = None

    def response(self) -> CutResponse:
        """Returns what the answer to the request says of it."""
        return CutResponse(
            checkpoint_id=self.checkpoint_id,
            checkpoint_ns=self.namespace,
            message_id=self.message_id,
            at=self.at,
            moved=self.moved,
            message=UNSET if self.message_json is None else Fragment(self.message_json),
        )


class CopyCuts:
    """Finds where copies end, and reads the states that they show."""

    def __init__(self, *, storage: Storage, graphs: ThreadGraphs, saver: Saver) -> None:
        self._storage = storage
        self._graphs = graphs
        self._saver = saver

    async def find(self, thread: Thread, request: ThreadCopy) -> CopyCut | None:
        """Returns where a copy of a thread ends; None for a whole copy.

        Raises:
            NotFound: the thread has no such checkpoint or message.
            Conflict: a checkpoint of a graph around it was not stored, or tool calls would be separated from their results.
            Invalid: `checkpoint.checkpoint_map` names other checkpoints of the graphs around it.
        """
        if request.message_id is not UNSET:
            return await self._at_message(thread.thread_id, request, request.message_id)
        if request.checkpoint_id is UNSET and request.checkpoint is UNSET:
            return None
        return await self._storage.read(lambda tx: self._cut(tx, thread.thread_id, request))

    async def _at_message(self, thread_id: str, request: ThreadCopy, message_id: str) -> CopyCut:
        at = None if request.at is UNSET else request.at
        found = await self._storage.read(lambda tx: cut_of(tx, thread_id, message_id, at), heavy=True)
        if found.moved and request.on_split == "refuse":
            raise Conflict(
                f"message_id: {found.at} message {message_id} a copy would separate tool calls of message {found.group}"
                " from their results"
            )
        place = CopyCut(checkpoint_id=None)
        checkpoint_id, namespace = found.checkpoint_id, found.namespace
        if checkpoint_id is not None:
            place = await self._storage.read(lambda tx: self.root_of(tx, thread_id, checkpoint_id, namespace))
        left_out = found.at == "before" and found.message_role == "human"
        message = await self._message(thread_id, found.shown_at, message_id) if left_out else None
        return msgspec.structs.replace(
            place, message_id=message_id, at=found.at, moved=found.moved, message_json=message
        )

    async def _message(self, thread_id: str, checkpoint_id: str, message_id: str) -> bytes | None:
        """Returns a message of a checkpoint as JSON; None if it cannot be read."""
        try:
            return await message_json(self._saver, thread_id, checkpoint_id, message_id)
        except Exception:
            log.warning("the messages of thread %s cannot be read", thread_id, exc_info=True)
            return None

    async def _cut(self, tx: Tx, thread_id: str, request: ThreadCopy) -> CopyCut:
        if request.checkpoint is UNSET:
            assert request.checkpoint_id is not UNSET
            checkpoint_id, namespace = await checkpoint_named(tx, thread_id, request.checkpoint_id), ""
        else:
            checkpoint_id, namespace = request.checkpoint.checkpoint_id, request.checkpoint.checkpoint_ns
        with_root = await self.root_of(tx, thread_id, checkpoint_id, namespace)
        if request.checkpoint is not UNSET and request.checkpoint.checkpoint_map:
            await self._check_map(tx, thread_id, request.checkpoint.checkpoint_map, checkpoint_id, namespace)
        return with_root

    async def root_of(self, tx: Tx, thread_id: str, checkpoint_id: str, namespace: str) -> CopyCut:
        """Returns the place of a checkpoint. Raises NotFound and Conflict as `find`."""
        try:
            root, bound = await tx.lineage.root_of_cut(thread_id, namespace, checkpoint_id)
        except KeyError:
            raise no_checkpoint(checkpoint_id) from None
        except UnstoredParentError as error:
            raise unstored(error) from None
        return CopyCut(checkpoint_id=checkpoint_id, namespace=namespace, root=None if root is None else (root, bound))

    async def _check_map(
        self, tx: Tx, thread_id: str, given: dict[str, str], checkpoint_id: str, namespace: str
    ) -> None:
        found = await tx.lineage.get(thread_id, namespace, checkpoint_id)
        parents = {} if found is None else found.meta.get("parents", {})
        for name, id_ in given.items():
            if {**parents, namespace: checkpoint_id}.get(name, id_) != id_:
                raise Invalid(f"checkpoint.checkpoint_map: checkpoint {checkpoint_id} was not made under {id_}")

    async def state(self, caller: Caller, thread: Thread, cut: CopyCut, graph_id: str | None) -> Snapshot:
        """Returns the state that a copy shows: that of its newest root checkpoint, before the tasks after the cut were executed.

        Args:
            thread: the source.
            graph_id: the graph of the copy; None: that of the source.
        """
        if cut.root is None:
            return EMPTY
        return await self._read(caller, thread, graph_id, Draft(self._storage, thread.thread_id, cut=cut.root)) or EMPTY

    async def newest_state(self, caller: Caller, thread: Thread, graph_id: str | None) -> Snapshot | None:
        """Returns the newest state of a thread; None if it cannot be read. Arguments as of `state`."""
        return await self._read(caller, thread, graph_id, None)

    async def _read(self, caller: Caller, thread: Thread, graph_id: str | None, over: Draft | None) -> Snapshot | None:
        graph_id = graph_id or graph_of(thread)
        if graph_id is None:
            return None
        try:
            async with self._graphs.open(caller, thread, graph_id, "threads.read") as graph:
                if over is not None:
                    graph = graph.copy({"checkpointer": graph.checkpointer.over(over)})
                return await thread_state(graph, root_config(thread.thread_id))
        except Exception:
            log.warning("thread %s cannot be read through its graph", thread.thread_id, exc_info=True)
            return None


def root_config(thread_id: str) -> dict[str, Any]:
    """Returns the config of a thread's newest state."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def no_checkpoint(checkpoint_id: str | None) -> NotFound:
    """Returns the error for a checkpoint that a thread does not have."""
    return NotFound(f"Checkpoint {checkpoint_id} not found")


def unstored(error: UnstoredParentError) -> Conflict:
    """Returns the error for a checkpoint of a subgraph at which a thread cannot be cut."""
    return Conflict(f"checkpoint: {error}, so a copy cannot end there")
