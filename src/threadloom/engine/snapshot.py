"""Reads the part of a thread's state that its record stores."""

from collections.abc import Mapping
from typing import Any

import msgspec

from threadloom.checkpointer import SHOWN
from threadloom.codec import to_json
from threadloom.graphs.read_state import read_state
from threadloom.large import dump_json


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a thread, in the form that its record stores.

    Attributes:
        values_json: the values; None without a checkpoint.
        interrupts_json: `{task_id: [interrupt_fields, …]}` of the open questions.
        has_next: whether there are tasks to execute.
        checkpoint_id: the root checkpoint of the state, if it is known.
    """

    values_json: bytes | None
    interrupts_json: bytes
    has_next: bool
    checkpoint_id: str | None = None


def shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config that reads a state for display: with all its tasks, and without questions that were answered."""
    return {**config, "configurable": {**config["configurable"], SHOWN: True}}


EMPTY = Snapshot(values_json=None, interrupts_json=b"{}", has_next=False)
"""The state of a thread without a checkpoint."""


def interrupt_fields(interrupt: Any) -> dict[str, Any]:
    """Returns an interrupt as clients see it: `id`, `value` and, if the graph gave a schema of the answer, `response_schema`."""
    fields = {"id": interrupt.id, "value": interrupt.value}
    # Older releases of LangGraph, and interrupts that they stored, have no schema.
    schema = getattr(interrupt, "response_schema", None)
    return fields if schema is None else {**fields, "response_schema": schema}


async def thread_state(graph: Any, config: dict[str, Any]) -> Snapshot:
    """Reads the state that `config` names (a thread's newest, or one checkpoint) through its graph, including states that
    LangGraph refuses to read.

    `interrupts_json` is `{task_id: [interrupt_fields, …]}` of the open questions.
    """
    state = await read_state(graph, shown(config))
    if state.metadata is None:
        return EMPTY
    interrupts = {
        task.id: [interrupt_fields(interrupt) for interrupt in task.interrupts]
        for task in state.tasks
        if task.interrupts
    }
    return Snapshot(
        values_json=await dump_json(state.values, to_json),
        interrupts_json=to_json(interrupts),
        has_next=bool(state.next),
        checkpoint_id=state.config["configurable"].get("checkpoint_id"),
    )
