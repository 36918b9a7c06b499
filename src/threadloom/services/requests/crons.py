"""Bodies of the crons routes.

A cron also stores unknown fields. Therefore `CronService.create(caller, thread_id, CronCreate, body)` and
`CronService.patch(caller, cron_id, CronPatch, body)` get the body as it was sent (a dict) as well as the struct.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import check_filter
from threadloom.services.requests.common import (
    Config,
    Context,
    Durability,
    Filter,
    Limit,
    Metadata,
    NodeNames,
    Object,
    Offset,
    SortOrder,
    StreamModes,
    Webhook,
    canonical,
    check_config,
    check_metadata,
)
from threadloom.types import MultitaskStrategy

CronField = Literal[
    "cron_id",
    "assistant_id",
    "thread_id",
    "user_id",
    "schedule",
    "timezone",
    "end_time",
    "payload",
    "next_run_date",
    "metadata",
    "on_run_completed",
    "enabled",
    "created_at",
    "updated_at",
]
Schedule = Annotated[
    str, Meta(description="Five fields; a sixth is seconds, a seventh the year. Or `@hourly` and so on.")
]
Timezone = Annotated[str, Meta(max_length=bounds.NAME.most, description="IANA name; null is UTC.")]
EndTime = Annotated[
    str,
    Meta(max_length=bounds.NAME.most, description="ISO 8601 moment after which it does not fire; null is never."),
]


class CronPatch(Struct, kw_only=True):
    """Changes of a cron; `metadata` is merged at the top level."""

    schedule: Schedule | UnsetType = UNSET
    timezone: Timezone | UnsetType | None = UNSET
    end_time: EndTime | UnsetType | None = UNSET
    input: Object | list[Any] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    config: Config | UnsetType = UNSET
    context: Context | UnsetType = UNSET
    webhook: Webhook | UnsetType = UNSET
    interrupt_before: NodeNames | UnsetType = UNSET
    interrupt_after: NodeNames | UnsetType = UNSET
    on_run_completed: Literal["delete", "keep"] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    stream_mode: StreamModes | UnsetType = UNSET
    stream_subgraphs: bool | UnsetType = UNSET
    stream_resumable: bool | UnsetType = UNSET
    durability: Durability | UnsetType = UNSET
    checkpoint_during: bool | UnsetType = UNSET
    multitask_strategy: MultitaskStrategy | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_config(self.config)
        check_metadata(self.metadata)


class CronCreate(CronPatch, kw_only=True):
    """A run to create on a schedule. Further fields are stored in `payload`."""

    assistant_id: Annotated[str, Meta(description="Id of an assistant, or the name of a graph.")]
    timezone: Timezone | UnsetType = UNSET
    end_time: EndTime | UnsetType = UNSET
    schedule: Schedule


class CronCount(Struct, kw_only=True):
    """Which crons to count. `assistant_id` may be the name of a graph."""

    assistant_id: str | UnsetType = UNSET
    thread_id: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    metadata: Filter | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_filter(self.metadata, "metadata")
        if self.thread_id is not UNSET:
            self.thread_id = canonical("thread", self.thread_id)


class CronSearch(CronCount, kw_only=True):
    """Which crons to find; an empty `select` shows all fields."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal[
        "cron_id", "assistant_id", "thread_id", "next_run_date", "end_time", "created_at", "updated_at"
    ] = "created_at"
    sort_order: SortOrder = "desc"
    select: Annotated[list[CronField], Meta(max_length=bounds.SELECT.most)] = field(default_factory=list)
