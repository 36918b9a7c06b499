"""Helpers for a run's config, and a way to read its thread's state outside of its execution."""

import logging
from typing import Any

from threadloom.auth.run_users import RunUsers
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.graphs.registry import GraphRegistry
from threadloom.types import Run
from threadloom.usercode import contained

log = logging.getLogger("threadloom.run")

USER = "langgraph_auth_user"
"""Key of `configurable` that holds the user: complete while the graph runs, its storable part where the config is stored."""


async def read_state(run: Run, graphs: GraphRegistry, users: RunUsers) -> Snapshot:
    """Returns the current state of the run's thread; the empty state when its graph cannot be loaded."""
    return await known_state(run, graphs, users) or EMPTY


async def known_state(run: Run, graphs: GraphRegistry, users: RunUsers) -> Snapshot | None:
    """Returns the current state of the run's thread; None when its graph cannot be loaded, so that the thread's record stays
    unchanged.
    """
    configurable = {**run.kwargs["config"]["configurable"], "checkpoint_ns": ""}
    configurable[USER] = users.of(run.run_id, configurable.get(USER))
    config = bare({"configurable": configurable, "metadata": {}})
    try:
        with contained():
            async with graphs.open(run.graph_id, config=config, access="threads.read") as graph:
                return await thread_state(graph, config)
    except Exception:
        log.exception("the state of thread %s cannot be read", run.thread_id)
        return None


def bare(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the config without a checkpoint id, so that it names the thread's newest checkpoint."""
    configurable = {
        key: value for key, value in config["configurable"].items() if key not in ("checkpoint_id", "checkpoint_map")
    }
    return {"configurable": {**configurable, "checkpoint_ns": ""}, "metadata": config["metadata"]}


def noted(said: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of a run's config that belong in its checkpoints' metadata and are not scalars: LangGraph copies only
    scalars.
    """
    return {
        key: value
        for key, value in said.items()
        if not isinstance(value, str | int | float) and not key.startswith("__")
    }
