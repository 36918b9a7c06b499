"""Appends messages of one thread, or values, to another: one visible state update that says where they come from.

See docs/contract/repository.md#append.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from threadloom.errors import NotFound
from threadloom.services.requests import StateUpdate, ThreadAppend
from threadloom.services.responses import StateWrittenResponse
from threadloom.services.state import StateService
from threadloom.services.state_update import Origin, id_of, messages_of
from threadloom.types import Caller

ORIGIN = "appended_from"
"""Key of the origin in the metadata of the checkpoint, and in the `response_metadata` of each message."""


class AppendService:
    """Appends to threads. The caller must be permitted to read the source and to update the target."""

    def __init__(self, state: StateService) -> None:
        self._state = state

    async def append(self, caller: Caller, thread_id: str, request: ThreadAppend) -> StateWrittenResponse:
        """Appends to a thread what the request names. Returns the new checkpoint.

        Raises:
            NotFound: there is no such thread, checkpoint or message.
            BadRequest: the thread has no graph, or the graph rejects the update.
            Conflict: runs of the thread are waiting or running, or it has one of the messages already.
        """
        source = request.thread_id
        place = {} if request.checkpoint_id is UNSET else {"checkpoint_id": request.checkpoint_id}
        state = await self._state.get(caller, source, checkpoint=place)
        checkpoint_id = state["checkpoint_id"]
        if state["metadata"] is None:
            raise NotFound(
                f"Checkpoint {checkpoint_id} not found" if place else f"Thread with ID {source} has no checkpoint"
            )
        origin = {"thread_id": source, "checkpoint_id": checkpoint_id}
        values: dict[str, Any]
        if request.message_ids is not UNSET:
            values = {"messages": _chosen(messages_of(state["values"]), request.message_ids, source)}
        else:
            values = dict(request.values) if request.values is not UNSET else {}
        messages = messages_of(values)
        if messages:
            values["messages"] = [_marked(message, origin) for message in messages]
        ids = {found for message in messages if (found := id_of(message)) is not None}
        update = StateUpdate(values=values, as_node=request.as_node)
        return await self._state.update(caller, thread_id, update, Origin({ORIGIN: origin}, ids))


def _chosen(messages: Sequence[Any], message_ids: Sequence[str], source: str) -> list[Any]:
    """Returns the messages with these ids, in the order of the ids.

    Raises:
        NotFound: names the first id that no message has.
    """
    known = {id_of(message): message for message in messages}
    for message_id in message_ids:
        if message_id not in known:
            raise NotFound(f"Message {message_id} not found in thread {source}")
    return [known[message_id] for message_id in message_ids]


def _marked(message: Any, origin: Mapping[str, Any]) -> Any:
    """Returns a message with its origin in `response_metadata`. What is no message object is returned as it is."""
    if isinstance(message, Mapping):
        return {**message, "response_metadata": {**(message.get("response_metadata") or {}), ORIGIN: origin}}
    if not hasattr(message, "response_metadata"):
        return message
    return message.model_copy(update={"response_metadata": {**message.response_metadata, ORIGIN: origin}})
