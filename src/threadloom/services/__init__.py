"""The services: what the server does, without HTTP and SQL. Routes call services; services call the engine and the storage."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadloom.services.assistants import AssistantService
    from threadloom.services.branches import BranchService
    from threadloom.services.cascade_delete import CascadeDeleteService
    from threadloom.services.copying import CopyService
    from threadloom.services.crons import CronService
    from threadloom.services.event_stream import EventStreamService
    from threadloom.services.items import ItemService
    from threadloom.services.lineage import LineageService
    from threadloom.services.protocol_commands import CommandService
    from threadloom.services.queue import QueueService
    from threadloom.services.repository import RepositoryServices
    from threadloom.services.run_start import RunStartService
    from threadloom.services.run_streams import RunStreamService
    from threadloom.services.runs import RunService
    from threadloom.services.state import StateService
    from threadloom.services.threads import ThreadService
    from threadloom.services.verification import VerificationService
    from threadloom.services.webhooks import DeliveryService


@dataclass(frozen=True, kw_only=True)
class Services:
    """All services. `starts` creates runs, `runs` reads and cancels them, `streams` streams their events. `events` and `commands`
    do so for the v2 protocol.
    """

    threads: "ThreadService"
    copying: "CopyService"
    branches: "BranchService"
    cascade_delete: "CascadeDeleteService"
    lineage: "LineageService"
    verification: "VerificationService"
    repository: "RepositoryServices"
    state: "StateService"
    runs: "RunService"
    starts: "RunStartService"
    streams: "RunStreamService"
    queue: "QueueService"
    assistants: "AssistantService"
    items: "ItemService"
    crons: "CronService"
    events: "EventStreamService"
    commands: "CommandService"
    deliveries: "DeliveryService"
