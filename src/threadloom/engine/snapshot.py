"""What a thread's record shows of its state, read through the graph."""

from collections.abc import Mapping
from typing import Any

import msgspec

from threadloom.checkpointer import SHOWN
from threadloom.codec import to_json
from threadloom.graphs.read_state import read_state
from threadloom.large import dump_json


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a thread, ready for its record.

    Attributes:
        values_json: the values; None without a checkpoint.
        interrupts_json: `{task_id: [{"id", "value"}, …]}` of the questions that wait.
        has_next: whether there are tasks to do.
        checkpoint_id: the root checkpoint that it is the state at, if that is known.
    """

    values_json: bytes | None
    interrupts_json: bytes
    has_next: bool
    checkpoint_id: str | None = None


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a state that is read to be shown: with all its tasks, and without the questions that were answered."""
    return {**config, "configurable": {**config["configurable"], SHOWN: True}}


EMPTY = Snapshot(values_json=None, interrupts_json=b"{}", has_next=False)
"""A thread without a checkpoint."""


async def thread_state(graph: Any, config: dict[str, Any]) -> Snapshot:
    """Reads the state that `config` addresses (a thread's newest, or one checkpoint) through its graph, whatever it refuses.

    `interrupts_json` is `{task_id: [{"id", "value"}, …]}` of the questions that still wait.
    """
    state = await read_state(graph, shown(config))
    if state.metadata is None:
        return EMPTY
    interrupts = {
        task.id: [{"id": interrupt.id, "value": interrupt.value} for interrupt in task.interrupts]
        for task in state.tasks
        if task.interrupts
    }
    return Snapshot(
        values_json=await dump_json(state.values, to_json),
        interrupts_json=to_json(interrupts),
        has_next=bool(state.next),
        checkpoint_id=state.config["configurable"].get("checkpoint_id"),
    )
