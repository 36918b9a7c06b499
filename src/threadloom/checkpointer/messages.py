"""Reads one message of a stored state."""

from langchain_core.runnables import RunnableConfig

from threadloom.checkpointer.saver import Saver
from threadloom.codec import to_json
from threadloom.lineage.messages import CHANNEL


async def message_json(saver: Saver, thread_id: str, checkpoint_id: str, message_id: str) -> bytes | None:
    """Returns a message of a root checkpoint as JSON; None if the checkpoint does not have it."""
    config: RunnableConfig = {
        "configurable": {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}
    }
    state = await saver.aget_tuple(config)
    for message in [] if state is None else state.checkpoint["channel_values"].get(CHANNEL, []):
        if (message.get("id") if isinstance(message, dict) else getattr(message, "id", None)) == message_id:
            return to_json(message)
    return None
