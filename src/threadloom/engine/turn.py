"""Where a turn of a conversation began in its thread's history."""

from typing import Any

MOST_STEPS = 200
"""How far back a turn's beginning is looked for: a run that answers an interrupt reads each checkpoint between."""


async def turn_start(checkpointer: Any, checkpoint: dict[str, Any]) -> str | None:
    """The id of the checkpoint with the input that led to a checkpoint of the root graph.

    A run that starts there with another input leaves out all that this input brought; one without input does it anew.

    Args:
        checkpointer: of the graph.
        checkpoint: as LangGraph streams it.

    Returns:
        None when there is none within `MOST_STEPS`: the state was made otherwise, or its beginning was pruned.
    """
    place = checkpoint["config"]["configurable"]
    if checkpoint["metadata"].get("source") == "input":
        return str(place["checkpoint_id"])
    parent = checkpoint.get("parent_config")
    for _ in range(MOST_STEPS):
        if parent is None:
            return None
        checkpoint_id = parent["configurable"]["checkpoint_id"]
        at = {"thread_id": place["thread_id"], "checkpoint_ns": "", "checkpoint_id": checkpoint_id}
        saved = await checkpointer.aget_tuple({"configurable": at})
        if saved is None:
            return None
        if saved.metadata.get("source") == "input":
            return str(checkpoint_id)
        parent = saved.parent_config
    return None
