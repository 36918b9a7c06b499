"""Priorities of new runs. The user's function decides at the first run of a thread; the priority is stored with the thread."""

from collections.abc import Awaitable
from typing import Protocol

from threadloom.auth.user import User
from threadloom.errors import Invalid, NotFound
from threadloom.graphs.priority import PriorityFunction
from threadloom.services.requests import RunCreate
from threadloom.services.run_grant import Grant
from threadloom.services.run_request import new_thread_metadata
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import permits
from threadloom.types import Assistant, Caller, Thread


class PriorityAssistants(Protocol):
    """What this module needs of the assistants service."""

    def resolve(self, tx: Tx, assistant: str) -> Awaitable[Assistant]:
        """Returns the assistant that a run names, by id or by the name of its graph.

        Raises:
            NotFound: there is no such assistant, or its graph is not configured.
            Invalid: the name is neither an id nor a graph.
        """
        ...


class Priorities:
    """Calls the user's function for threads that have no priority yet.

    Args:
        assign: the function; None: all runs have the same priority.
    """

    def __init__(self, *, storage: Storage, assistants: PriorityAssistants, assign: PriorityFunction | None) -> None:
        self._storage = storage
        self._assistants = assistants
        self._assign = assign

    @property
    def needed(self) -> bool:
        """Whether there is a priority function."""
        return self._assign is not None

    async def of(
        self,
        caller: Caller,
        thread_id: str | None,
        request: RunCreate,
        *,
        grant: Grant | None,
        cron_id: str | None = None,
    ) -> int | None:
        """Returns the priority of a run that is about to be created; None if there is no function, or if the run cannot be
        created anyhow.

        Args:
            thread_id: its thread; None: the run gets a thread of its own.
            grant: the grant of the run.
            cron_id: the cron that creates the run.

        Raises:
            ApiError: the function failed, or did not return a priority.
        """
        if self._assign is None:
            return None
        thread, assistant = await self._storage.read(lambda tx: self._look(tx, thread_id, request))
        if thread is not None and thread.priority is not None:
            return thread.priority
        if assistant is None or (thread is None and thread_id is not None and request.if_not_exists != "create"):
            return None
        if grant is not None:
            if not permits(grant.assistant, assistant.metadata):
                return None
            if thread is not None and not permits(grant.thread, thread.metadata):
                return None
            request = grant.applied_to(request)
        return await self._assign(
            user=User("", is_authenticated=False) if caller.user is None else caller.user,
            permissions=caller.permissions,
            thread_id=thread_id,
            thread_metadata=new_thread_metadata(request, assistant) if thread is None else thread.metadata,
            assistant_id=assistant.assistant_id,
            graph_id=assistant.graph_id,
            assistant_metadata=assistant.metadata,
            run_metadata={**request.config.get("metadata", {}), **request.metadata},
            cron_id=cron_id,
        )

    async def _look(self, tx: Tx, thread_id: str | None, request: RunCreate) -> tuple[Thread | None, Assistant | None]:
        thread = None if thread_id is None else await tx.threads.get(thread_id, with_state=False)
        try:
            return thread, await self._assistants.resolve(tx, request.assistant_id)
        except (NotFound, Invalid):
            return thread, None
