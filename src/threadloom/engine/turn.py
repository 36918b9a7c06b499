"""Finds the checkpoint at which a turn of a conversation began."""

from typing import Any


async def turn_start(checkpointer: Any, config: dict[str, Any], checkpoint: dict[str, Any]) -> str | None:
    """Returns the id of the checkpoint whose input led to a checkpoint of the root graph; None when it is not found.

    A run that starts there with another input replaces this input and its results; a run without input repeats the turn.

    Args:
        checkpointer: the graph's checkpointer.
        config: the run's config.
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
