"""Tasks, as A2A sees runs: a run, and the later ones that went on with it after it had asked something."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.types import Run

TaskState = Literal["submitted", "working", "completed", "input-required", "failed", "canceled"]

TASK_ID_KEY = "a2a_task_id"
"""Key of a run's metadata: the task (`<thread id>:<id of its first run>`) that the run goes on with."""


class TaskQuery(msgspec.Struct, kw_only=True):
    """Which tasks of an assistant. `since` is when they last changed at the earliest. Throw-away threads have none.

    `where` is which threads the caller may see at all.
    """

    assistant_id: str
    where: Filter | None = None
    thread_id: str | None = None
    state: TaskState | None = None
    since: int | None = None
    limit: int = 50
    offset: int = 0


class Task(msgspec.Struct, frozen=True):
    """A task: its id, and the newest of its runs, which is where it stands."""

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
