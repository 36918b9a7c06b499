"""The services of threads as a repository, in one place: they are made of the same parts."""

from dataclasses import dataclass

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.services.appending import AppendService
from threadloom.services.moves import MoveService
from threadloom.services.state import StateService
from threadloom.services.tags import TagService
from threadloom.services.thread_graph import ThreadGraphs
from threadloom.storage.base import Storage


@dataclass(frozen=True)
class RepositoryServices:
    """What can be done with the histories of threads, other than copying them."""

    moves: MoveService
    tags: TagService
    appending: AppendService


def repository_services(
    storage: Storage, guard: Guard, clock: Clock, graphs: ThreadGraphs, state: StateService
) -> RepositoryServices:
    """Returns the services. `state` reads and updates the states of threads."""
    return RepositoryServices(
        moves=MoveService(storage=storage, guard=guard, clock=clock, graphs=graphs, announce=state.announce),
        tags=TagService(storage=storage, guard=guard, clock=clock),
        appending=AppendService(state),
    )
