"""Parts of a run's config, and the state of its thread read apart from its execution."""

import logging
from typing import Any

from threadloom.auth.run_users import RunUsers
from threadloom.engine.snapshot import EMPTY, Snapshot, thread_state
from threadloom.graphs.registry import GraphRegistry
from threadloom.types import Run
from threadloom.usercode import contained

log = logging.getLogger("threadloom.run")

USER = "langgraph_auth_user"
"""Key of `configurable` that carries the user: whole while the graph runs, what is kept of it where it is stored."""


async def read_state(run: Run, graphs: GraphRegistry, users: RunUsers) -> Snapshot:
    """What the run's thread looks like now; the empty state when its graph cannot be had."""
    return await known_state(run, graphs, users) or EMPTY


async def known_state(run: Run, graphs: GraphRegistry, users: RunUsers) -> Snapshot | None:
    """What the run's thread looks like now; None when its graph cannot be had, so that its record stays as it is."""
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
    """The same config, at the thread's newest checkpoint."""
    configurable = {
        key: value for key, value in config["configurable"].items() if key not in ("checkpoint_id", "checkpoint_map")
    }
    return {"configurable": {**configurable, "checkpoint_ns": ""}, "metadata": config["metadata"]}


def noted(said: dict[str, Any]) -> dict[str, Any]:
    """What a run says that belongs into its checkpoints' metadata and is no scalar: LangGraph takes only those along."""
    return {
        key: value
        for key, value in said.items()
        if not isinstance(value, str | int | float) and not key.startswith("__")
    }
