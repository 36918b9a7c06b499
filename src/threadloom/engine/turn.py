"""Where a turn of a conversation began in its thread's history."""

from typing import Any


async def turn_start(checkpointer: Any, config: dict[str, Any], checkpoint: dict[str, Any]) -> str | None:
    """The id of the checkpoint with the input that led to a checkpoint of the root graph; None when it is not found.

    A run that starts there with another input leaves out all that this input brought; one without input does it anew.

    Args:
        checkpointer: the graph's.
        config: the run's.
        checkpoint: as LangGraph streams it.
    """
    if checkpoint["metadata"].get("source") == "input":
        return str(checkpoint["config"]["configurable"]["checkpoint_id"])
    parent = checkpoint.get("parent_config")
    if parent is None:
        return None
    place = {**config["configurable"], "checkpoint_id": parent["configurable"]["checkpoint_id"]}
    found: str | None = await checkpointer.input_before({"configurable": place})
    return found
