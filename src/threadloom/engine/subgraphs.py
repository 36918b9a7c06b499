"""Tracks which subgraphs of a run are running, from the tasks of its graphs."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import msgspec

Namespace = tuple[str, ...]
Phase = Literal["started", "completed", "failed", "interrupted"]


class Subgraph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that runs within a task of another.

    Attributes:
        task_id: the task.
        graph_name: the agent's name if it has one, else the node's.
        is_agent: whether it has an agent's name.
        tool_call_id: the tool call that the task works on, if any.
    """

    namespace: Namespace
    task_id: str
    graph_name: str
    is_agent: bool
    tool_call_id: str | None


Emit = Callable[[Phase, Subgraph, Any], None]
"""Takes the new phase of a subgraph, and the error if it failed."""


class Subgraphs:
    """Tracks the subgraphs of one run.

    Args:
        emit: takes each change, in the order in which they happen; of subgraphs that end together the innermost comes first.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._running: dict[Namespace, Subgraph] = {}
        self._callers: dict[str, str] = {}

    def __contains__(self, namespace: Namespace) -> bool:
        return namespace in self._running

    def start(self, namespace: Namespace, task: dict[str, Any]) -> None:
        """Records that a subgraph starts. `task` is its first task, or empty when unknown."""
        name, _, task_id = namespace[-1].partition(":")
        agent = (task.get("metadata") or {}).get("lc_agent_name")
        subgraph = self._running[namespace] = Subgraph(
            namespace=namespace,
            task_id=task_id,
            graph_name=agent or name,
            is_agent=bool(agent),
            tool_call_id=self._callers.get(task_id),
        )
        self._emit("started", subgraph, None)

    def task(self, namespace: Namespace, task: dict[str, Any]) -> None:
        """Records that a task of the root or of a subgraph begins or ends. Starts the subgraph if it has not started."""
        if namespace and namespace not in self._running:
            self.start(namespace, task)
        if "result" in task:
            self._end_below(namespace, task)
        else:
            self._note_caller(task)

    def finish(self, error: BaseException | None) -> None:
        """Records that the run has ended, with or without an error. Its subgraphs end with it."""
        phase = phase_of(error)
        for namespace in sorted(self._running, key=len, reverse=True):
            self._emit(phase, self._running.pop(namespace), error)

    def _end_below(self, namespace: Namespace, task: dict[str, Any]) -> None:
        """Ends the subgraphs of a task that ended."""
        error = task.get("error")
        phase: Phase = "interrupted" if task.get("interrupts") else phase_of(error)
        depth = len(namespace)
        below = [
            one
            for one in self._running
            if len(one) > depth and one[:depth] == namespace and one[depth].partition(":")[2] == task.get("id")
        ]
        for one in sorted(below, key=len, reverse=True):
            self._emit(phase, self._running.pop(one), error)

    def _note_caller(self, task: dict[str, Any]) -> None:
        """Records which tool call a task works on. That call is the cause of a subgraph that the task starts."""
        given = task.get("input")
        calls = given if isinstance(given, list) else [given.get("tool_call")] if isinstance(given, dict) else []
        for call in calls:
            if isinstance(call, dict) and isinstance(call.get("id"), str):
                self._callers[task["id"]] = call["id"]
                return


def phase_of(error: Any) -> Phase:
    """Returns the phase with which a graph ends."""
    if error is None:
        return "completed"
    return "interrupted" if isinstance(error, asyncio.CancelledError) else "failed"
