"""Rebuilds a thread's history from its states, as the API returns them.

The graph itself makes each checkpoint again from the results of its tasks. So the parts of a checkpoint that no route returns
(channel versions, versions seen by nodes) are rebuilt as well. Checkpoints keep their ids, moments and metadata. Therefore tasks
keep their ids too, and an answer to a question reaches the task that asked it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.channels.binop import BinaryOperatorAggregate
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.constants import END
from langgraph.types import Interrupt, Overwrite, StateUpdate

from threadloom.checkpointer import Saver
from threadloom.codec import from_json, to_json
from threadloom.errors import ThreadloomError
from threadloom.importers.source_server import checkpoint_id_of as checkpoint_of
from threadloom.storage.base import Storage
from threadloom.storage.lineage.draft import Draft

COPIES = "fork"
"""`source` of a checkpoint that is a plain copy of its parent."""

_Steps = list[list[StateUpdate]]
"""A list of updates, one per superstep. Only the checkpoint of the last superstep is stored."""


class CannotRebuild(ThreadloomError):
    """The graph does not arrive at the state that the server returned. The text names the checkpoint."""


class _Renaming(Saver):
    """A saver that stores one checkpoint under its original id, moment and metadata.

    Attributes:
        state: the original state, which has these.
        passing: how many intermediate checkpoints are made before it. They are not stored.
    """

    state: Mapping[str, Any]
    passing: int = 0
    _passed: CheckpointTuple | None = None
    _passed_versions: ChannelVersions | None = None

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        if self._passed is not None:
            assert self._passed.parent_config is not None
            config = self._passed.parent_config
            new_versions = {**(self._passed_versions or {}), **new_versions}
        if self.passing:
            self.passing -= 1
            place = {**config["configurable"], "checkpoint_id": checkpoint["id"]}
            passed: RunnableConfig = {"configurable": place}
            self._passed = CheckpointTuple(passed, checkpoint, metadata, config, [])
            self._passed_versions = new_versions
            return passed
        known: Any = {key: value for key, value in self.state["metadata"].items() if key != "thread_id"}
        named: Any = {**checkpoint, "id": checkpoint_of(self.state), "ts": self.state["created_at"]}
        return await super().aput(config, named, known, new_versions)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        wanted = config["configurable"].get("checkpoint_id")
        if self._passed is not None and wanted == self._passed.checkpoint["id"]:
            return self._passed
        return await super().aget_tuple(config)


async def rebuilt(storage: Storage, graph: Any, thread_id: str, states: Sequence[Mapping[str, Any]]) -> Draft:
    """Returns a thread's history as a draft.

    Args:
        graph: the graph of the thread, with a Threadloom checkpointer.
        states: all states of the thread, each after its parent.

    Raises:
        CannotRebuild: the graph arrives at another state.
    """
    draft = Draft(storage, thread_id)
    by_id = {checkpoint_of(state): state for state in states}
    for state in states:
        parent = by_id.get(checkpoint_of(state, "parent_checkpoint"))
        if parent is None and checkpoint_of(state, "parent_checkpoint") is not None:
            raise CannotRebuild(f"the server does not show what checkpoint {checkpoint_of(state)} followed")
        for steps in _ways(graph, parent, state):
            # Applied to a draft over the draft first, so that steps that lead to another state leave nothing in it.
            trial = Draft(cast(Storage, draft), thread_id)
            if await _apply(graph, trial, thread_id, parent, state, steps):
                await _apply(graph, draft, thread_id, parent, state, steps)
                break
        else:
            raise CannotRebuild(f"the graph does not come to the state of checkpoint {checkpoint_of(state)}")
        await _ask(graph, draft, thread_id, state)
    return draft


def _ways(graph: Any, parent: Mapping[str, Any] | None, state: Mapping[str, Any]) -> list[_Steps]:
    """Returns the steps that may have led to a state, the most likely first."""
    source = state["metadata"].get("source")
    if source == "input":
        given = [task.get("result") for task in state.get("tasks") or () if task["name"] == "__start__"]
        input = [StateUpdate(given[0] if given else None, "__input__")]
        # A new input cancels the tasks that were still to be executed.
        return [[input], [[StateUpdate(None, END)], input]]
    if parent is None:
        return [[[StateUpdate(_changed(graph, {}, state["values"]), node)]] for node in ("__input__", *graph.nodes)]
    ways: list[_Steps] = []
    if source == COPIES:
        ways.append([[StateUpdate(None, "__copy__")]])
    done = [StateUpdate(task["result"], task["name"]) for task in parent.get("tasks") or () if task.get("result")]
    if done and source != "update":
        ways.append([done])
    changed = _changed(graph, parent["values"], state["values"])
    ways += [[[StateUpdate(changed, node)]] for node in graph.nodes if node != "__start__"]
    return ways


def _changed(graph: Any, before: Any, after: Any) -> Any:
    """Returns the update that leads from one state to the next, whatever the reducers do."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    return {
        key: Overwrite(value) if isinstance(graph.channels.get(key), BinaryOperatorAggregate) else value
        for key, value in after.items()
        if key not in before or before[key] != value
    }


async def _apply(
    graph: Any,
    draft: Draft,
    thread_id: str,
    parent: Mapping[str, Any] | None,
    state: Mapping[str, Any],
    steps: _Steps,
) -> bool:
    """Lets the graph make a checkpoint in a draft. Returns whether the checkpoint has the wanted state."""
    drafted = _over(graph, draft, state, passing=len(steps) - 1)
    try:
        await drafted.abulk_update_state(_config(thread_id, None if parent is None else checkpoint_of(parent)), steps)
        made = await drafted.aget_state(_config(thread_id, checkpoint_of(state)))
    except ThreadloomError:
        raise
    except Exception:
        return False
    return sorted(made.next) == sorted(state["next"]) and from_json(to_json(made.values)) == state["values"]


async def _ask(graph: Any, draft: Draft, thread_id: str, state: Mapping[str, Any]) -> None:
    """Stores the open questions of a state."""
    asking = [task for task in state.get("tasks") or () if task.get("interrupts") and not task.get("result")]
    if not asking:
        return
    drafted = _over(graph, draft, state)
    config = _config(thread_id, checkpoint_of(state))
    own = {task.id for task in (await drafted.aget_state(config)).tasks}
    for task in asking:
        if task["id"] not in own:
            raise CannotRebuild(
                f"the graph has no task {task['id']} at checkpoint {checkpoint_of(state)}, which asks a question"
            )
        questions = [
            Interrupt(value=one["value"], id=one["id"], response_schema=one.get("response_schema"))
            for one in task["interrupts"]
        ]
        await drafted.checkpointer.aput_writes(config, [("__interrupt__", questions)], task["id"])


def _over(graph: Any, draft: Draft, state: Mapping[str, Any], passing: int = 0) -> Any:
    saver = _Renaming(cast(Storage, draft), serde=graph.checkpointer.serde)
    saver.state, saver.passing = state, passing
    return graph.copy({"checkpointer": saver})


def _config(thread_id: str, checkpoint_id: str | None) -> dict[str, Any]:
    configurable = {"thread_id": thread_id, "checkpoint_ns": ""}
    return {"configurable": configurable | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}
