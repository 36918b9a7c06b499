"""Bodies of the assistants routes."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import check_filter
from threadloom.services.requests.common import (
    Config,
    Context,
    Filter,
    Limit,
    Metadata,
    Offset,
    SortOrder,
    canonical,
    check_config,
    check_metadata,
)

AssistantField = Literal[
    "assistant_id",
    "graph_id",
    "config",
    "context",
    "metadata",
    "name",
    "description",
    "version",
    "created_at",
    "updated_at",
]
Version = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class AssistantCreate(Struct, kw_only=True):
    """A new assistant. A missing or empty `name` is shown as `Untitled`."""

    graph_id: str
    assistant_id: str | UnsetType = UNSET
    config: Config = {}
    context: Context = {}
    metadata: Metadata = {}
    name: str = ""
    description: str | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"

    def __post_init__(self) -> None:
        if self.assistant_id is not UNSET:
            self.assistant_id = canonical("assistant", self.assistant_id)
        check_config(self.config)
        check_metadata(self.metadata)


class AssistantPatch(Struct, kw_only=True):
    """Changes of an assistant, stored as a new version. `metadata` is merged at the top level, `description: null` clears it."""

    graph_id: str | UnsetType = UNSET
    config: Config | UnsetType = UNSET
    context: Context | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        check_config(self.config)
        check_metadata(self.metadata)


class AssistantCount(Struct, kw_only=True):
    """Which assistants to count. `name` is a part of the name; case is ignored."""

    metadata: Filter | UnsetType = UNSET
    graph_id: str | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=bounds.NAME.most)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_filter(self.metadata, "metadata")


class AssistantSearch(AssistantCount, kw_only=True):
    """Which assistants to find; an empty `select` shows all fields."""

    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["assistant_id", "created_at", "updated_at", "name", "graph_id"] = "created_at"
    sort_order: SortOrder = "desc"
    select: Annotated[list[AssistantField], Meta(max_length=bounds.SELECT.most)] = field(default_factory=list)


class AssistantVersions(Struct, kw_only=True):
    """Which versions of an assistant to list, newest first."""

    metadata: Filter | UnsetType = UNSET
    limit: Limit = 10
    offset: Offset = 0

    def __post_init__(self) -> None:
        check_filter(self.metadata, "metadata")


class AssistantLatest(Struct, kw_only=True):
    """The version to make the current one."""

    version: Version
