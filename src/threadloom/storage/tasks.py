"""Tasks: runs as A2A shows them. A task is a run and the later runs that resumed it after an interrupt."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.types import Run

TaskState = Literal["submitted", "working", "completed", "input-required", "failed", "canceled"]

TASK_ID_KEY = "a2a_task_id"
"""Key in a run's metadata: the task (`<thread id>:<id of its first run>`) that the run continues."""


class TaskQuery(msgspec.Struct, kw_only=True):
    """The conditions and page of a search for the tasks of an assistant.

    `since` is the earliest moment of their last change. Threads of stateless runs have no tasks. `where` is the caller's filter
    on threads.
    """

    assistant_id: str
    where: Filter | None = None
    thread_id: str | None = None
    state: TaskState | None = None
    since: int | None = None
    limit: int = 50
    offset: int = 0


class Task(msgspec.Struct, frozen=True):
    """A task: its id, and the newest of its runs, which has the task's state."""

    task_id: str
    run: Run


class Tasks(Protocol):
    """Tasks, read from the runs."""

    async def search(self, query: TaskQuery) -> Sequence[Task]:
        """Returns one page of tasks, the last changed first."""
        ...

    async def count(self, query: TaskQuery) -> int:
        """Returns how many tasks match; `limit` and `offset` have no effect."""
        ...
