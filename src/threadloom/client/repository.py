"""The operations on threads and their copies, for asynchronous and for synchronous code."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient
from typing_extensions import Unpack

from threadloom.client import requests
from threadloom.client.requests import Cutting, ServerRequest
from threadloom.client.responses import Branches, Comparison, CopiedThread, ThreadAfterMove, ThreadLineage, ThreadTag

T = TypeVar("T")


class ThreadRepository:
    """Operations on threads and their copies.

    Args:
        client: a client of `langgraph_sdk.get_client`.
    """

    def __init__(self, client: LangGraphClient) -> None:
        self._client = client

    async def branches(self, thread_id: str) -> Branches:
        """Returns the map of a thread: its messages on all branches, with the checkpoints around each. No values are read."""
        return await self._send(requests.branches(thread_id))

    async def lineage(self, thread_id: str) -> ThreadLineage:
        """Returns the tree of copies that a thread belongs to."""
        return await self._send(requests.lineage(thread_id))

    async def compare(
        self,
        thread_id: str,
        other: str,
        *,
        state: bool = False,
        checkpoint_id: str | None = None,
        other_checkpoint_id: str | None = None,
    ) -> Comparison:
        """Compares two threads, or two checkpoints of one.

        Args:
            state: also compare the values, channel by channel and message by message.
            checkpoint_id: the checkpoint of `thread_id`, the newest by default.
            other_checkpoint_id: the checkpoint of `other`, the newest by default.
        """
        request = requests.compare(
            thread_id, other, state=state, checkpoint_id=checkpoint_id, other_checkpoint_id=other_checkpoint_id
        )
        return await self._send(request)

    async def copy(
        self,
        thread_id: str,
        *,
        copy_id: str | None = None,
        if_exists: Literal["raise", "do_nothing"] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **cutting: Unpack[Cutting],
    ) -> CopiedThread:
        """Copies a thread, or a part of it.

        Args:
            copy_id: the id of the copy, a new one by default. With `if_exists="do_nothing"` a retry is safe.
            metadata: merged over the metadata of the source.
            cutting: where the copy ends and what it keeps, see `Cutting`.
        """
        request = requests.copy(thread_id, cutting, copy_id=copy_id, if_exists=if_exists, metadata=metadata)
        return await self._send(request)

    async def copy_many(
        self,
        thread_id: str,
        count: int,
        *,
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        **cutting: Unpack[Cutting],
    ) -> list[CopiedThread]:
        """Makes up to 1,000 copies in one transaction, all or none.

        Args:
            metadata: merged over the metadata of the source: one for all copies, or a list with one for each.
            cutting: where the copies end and what they keep, see `Cutting`.
        """
        return await self._send(requests.copy_many(thread_id, count, cutting, metadata=metadata))

    async def reset(self, thread_id: str, checkpoint_id: str) -> ThreadAfterMove:
        """Moves the head of a thread to a checkpoint (an id or a tag). Nothing is deleted, and `undo` moves it back."""
        return await self._send(requests.reset(thread_id, checkpoint_id))

    async def undo(self, thread_id: str) -> ThreadAfterMove:
        """Moves the head of a thread to where it was before its last move. Twice is redo."""
        return await self._send(requests.undo(thread_id))

    async def promote(self, thread_id: str, copy_id: str) -> ThreadAfterMove:
        """Moves the head of a thread to the head of another thread of its tree of copies. `undo` moves it back."""
        return await self._send(requests.promote(thread_id, copy_id))

    async def append(
        self,
        thread_id: str,
        source: str,
        *,
        checkpoint_id: str | None = None,
        message_ids: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        as_node: str | None = None,
    ) -> dict[str, Any]:
        """Adds messages of another thread, or a state update that comes from it, with a note of where they come from.

        Args:
            source: the thread that they come from.
            checkpoint_id: its checkpoint, the newest by default.
            message_ids: the messages. Either these or `values`.
            values: the state update.
            as_node: the node that the update counts as.
        """
        request = requests.append(
            thread_id,
            source,
            checkpoint_id=checkpoint_id,
            message_ids=message_ids,
            values=values,
            as_node=as_node,
        )
        return await self._send(request)

    async def tags(self, thread_id: str) -> list[ThreadTag]:
        """Returns the tags of a thread."""
        return await self._send(requests.tags(thread_id))

    async def put_tag(
        self,
        thread_id: str,
        name: str,
        *,
        checkpoint_id: str | None = None,
        if_exists: Literal["raise", "move"] | None = None,
    ) -> ThreadTag:
        """Names a checkpoint, the newest by default. A tagged checkpoint is not pruned."""
        return await self._send(requests.put_tag(thread_id, name, checkpoint_id=checkpoint_id, if_exists=if_exists))

    async def delete_tag(self, thread_id: str, name: str) -> None:
        """Removes a tag. The checkpoint stays."""
        await self._send(requests.delete_tag(thread_id, name))

    async def _send(self, request: ServerRequest[T]) -> T:
        http, query = self._client.http, request.query or None
        answer: Any
        if request.method == "GET":
            answer = await http.get(request.path, params=query)
        elif request.method == "PUT":
            answer = await http.put(request.path, json=request.body)
        elif request.method == "DELETE":
            answer = None
            await http.delete(request.path)
        else:
            answer = await http.post(request.path, json=request.body)
        result: T = answer
        return result


class SyncThreadRepository:
    """The same operations as `ThreadRepository`, for synchronous code.

    Args:
        client: a client of `langgraph_sdk.get_sync_client`.
    """

    def __init__(self, client: SyncLangGraphClient) -> None:
        self._client = client

    def branches(self, thread_id: str) -> Branches:
        """Returns the map of a thread: its messages on all branches, with the checkpoints around each. No values are read."""
        return self._send(requests.branches(thread_id))

    def lineage(self, thread_id: str) -> ThreadLineage:
        """Returns the tree of copies that a thread belongs to."""
        return self._send(requests.lineage(thread_id))

    def compare(
        self,
        thread_id: str,
        other: str,
        *,
        state: bool = False,
        checkpoint_id: str | None = None,
        other_checkpoint_id: str | None = None,
    ) -> Comparison:
        """Compares two threads, or two checkpoints of one.

        Args:
            state: also compare the values, channel by channel and message by message.
            checkpoint_id: the checkpoint of `thread_id`, the newest by default.
            other_checkpoint_id: the checkpoint of `other`, the newest by default.
        """
        request = requests.compare(
            thread_id, other, state=state, checkpoint_id=checkpoint_id, other_checkpoint_id=other_checkpoint_id
        )
        return self._send(request)

    def copy(
        self,
        thread_id: str,
        *,
        copy_id: str | None = None,
        if_exists: Literal["raise", "do_nothing"] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **cutting: Unpack[Cutting],
    ) -> CopiedThread:
        """Copies a thread, or a part of it.

        Args:
            copy_id: the id of the copy, a new one by default. With `if_exists="do_nothing"` a retry is safe.
            metadata: merged over the metadata of the source.
            cutting: where the copy ends and what it keeps, see `Cutting`.
        """
        request = requests.copy(thread_id, cutting, copy_id=copy_id, if_exists=if_exists, metadata=metadata)
        return self._send(request)

    def copy_many(
        self,
        thread_id: str,
        count: int,
        *,
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        **cutting: Unpack[Cutting],
    ) -> list[CopiedThread]:
        """Makes up to 1,000 copies in one transaction, all or none.

        Args:
            metadata: merged over the metadata of the source: one for all copies, or a list with one for each.
            cutting: where the copies end and what they keep, see `Cutting`.
        """
        return self._send(requests.copy_many(thread_id, count, cutting, metadata=metadata))

    def reset(self, thread_id: str, checkpoint_id: str) -> ThreadAfterMove:
        """Moves the head of a thread to a checkpoint (an id or a tag). Nothing is deleted, and `undo` moves it back."""
        return self._send(requests.reset(thread_id, checkpoint_id))

    def undo(self, thread_id: str) -> ThreadAfterMove:
        """Moves the head of a thread to where it was before its last move. Twice is redo."""
        return self._send(requests.undo(thread_id))

    def promote(self, thread_id: str, copy_id: str) -> ThreadAfterMove:
        """Moves the head of a thread to the head of another thread of its tree of copies. `undo` moves it back."""
        return self._send(requests.promote(thread_id, copy_id))

    def append(
        self,
        thread_id: str,
        source: str,
        *,
        checkpoint_id: str | None = None,
        message_ids: Sequence[str] | None = None,
        values: Mapping[str, Any] | None = None,
        as_node: str | None = None,
    ) -> dict[str, Any]:
        """Adds messages of another thread, or a state update that comes from it, with a note of where they come from.

        Args:
            source: the thread that they come from.
            checkpoint_id: its checkpoint, the newest by default.
            message_ids: the messages. Either these or `values`.
            values: the state update.
            as_node: the node that the update counts as.
        """
        request = requests.append(
            thread_id,
            source,
            checkpoint_id=checkpoint_id,
            message_ids=message_ids,
            values=values,
            as_node=as_node,
        )
        return self._send(request)

    def tags(self, thread_id: str) -> list[ThreadTag]:
        """Returns the tags of a thread."""
        return self._send(requests.tags(thread_id))

    def put_tag(
        self,
        thread_id: str,
        name: str,
        *,
        checkpoint_id: str | None = None,
        if_exists: Literal["raise", "move"] | None = None,
    ) -> ThreadTag:
        """Names a checkpoint, the newest by default. A tagged checkpoint is not pruned."""
        return self._send(requests.put_tag(thread_id, name, checkpoint_id=checkpoint_id, if_exists=if_exists))

    def delete_tag(self, thread_id: str, name: str) -> None:
        """Removes a tag. The checkpoint stays."""
        self._send(requests.delete_tag(thread_id, name))

    def _send(self, request: ServerRequest[T]) -> T:
        http, query = self._client.http, request.query or None
        answer: Any
        if request.method == "GET":
            answer = http.get(request.path, params=query)
        elif request.method == "PUT":
            answer = http.put(request.path, json=request.body)
        elif request.method == "DELETE":
            answer = None
            http.delete(request.path)
        else:
            answer = http.post(request.path, json=request.body)
        result: T = answer
        return result
