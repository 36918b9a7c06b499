"""What the server answers, as structs: the interface description follows from them, as it does from those of requests.

Names in the description are those of the structs without `Response`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from threadloom.codec import ResponseBody
from threadloom.types import DeliveryStatus, MultitaskStrategy, RunStatus, ThreadStatus, TtlStrategy

Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Object = dict[str, Any]


class ErrorResponse(ResponseBody):
    """Why a request was refused."""

    detail: str


class ProtocolErrorResponse(ResponseBody):
    """Why a message is no command: `detail` when it is no JSON, else the protocol's own envelope."""

    type: Literal["error"] | UnsetType = UNSET
    id: Any = UNSET
    error: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class RpcRefusalResponse(ResponseBody):
    """Why a message was refused before it was understood."""

    error: Any


class RunFailure(ResponseBody):
    """What failed and why."""

    error: str
    message: str


class RunErrorResponse(ResponseBody):
    """How a run failed."""

    error: RunFailure = field(name="__error__")


class ForkedFromResponse(ResponseBody):
    """Where a copy came from."""

    thread_id: Id
    checkpoint_id: str | None
    at: Moment


class TtlResponse(ResponseBody):
    """When a thread goes."""

    strategy: TtlStrategy
    ttl_minutes: float
    expires_at: Moment


class ThreadResponse(ResponseBody):
    """A conversation. `values` are those of the latest state as of the last run end or state update."""

    thread_id: Id
    created_at: Moment
    updated_at: Moment
    state_updated_at: Moment
    metadata: Object
    status: ThreadStatus
    config: Object
    values: Any
    interrupts: Object
    error: Object | None
    forked_from: ForkedFromResponse | UnsetType = UNSET
    ttl: TtlResponse | UnsetType = UNSET
    extracted: Object | UnsetType = UNSET


class TaskResponse(ResponseBody):
    """A node that is next, with what became of it so far."""

    id: str
    name: str
    path: list[Any]
    error: str | None
    interrupts: list[Object]
    checkpoint: Object | None
    state: Any
    result: Any


class ThreadStateResponse(ResponseBody):
    """A checkpoint as a graph reads it. With `select`, only the fields asked for."""

    values: Any
    next: list[str]
    tasks: list[TaskResponse]
    metadata: Object | None
    created_at: str | None
    checkpoint: Object | None
    parent_checkpoint: Object | None
    interrupts: list[Object]
    checkpoint_id: str | None
    parent_checkpoint_id: str | None


class StateWrittenResponse(ResponseBody):
    """The checkpoint that was written."""

    checkpoint: Object
    configurable: Object
    checkpoint_id: str


class PrunedResponse(ResponseBody):
    """How many threads were pruned."""

    pruned_count: int


class DeletedThreadsResponse(ResponseBody):
    """The ids of the deleted threads, when `cascade` was asked for."""

    thread_ids: Sequence[Id]


class SizeResponse(ResponseBody):
    """How many, and their bytes."""

    count: int
    bytes: int


class ChannelSizeResponse(ResponseBody):
    """How many versions of a channel, and their bytes."""

    versions: int
    bytes: int


class ChannelsSizeResponse(ResponseBody):
    """How many values of channels, and their bytes."""

    count: int
    bytes: int
    by_channel: dict[str, ChannelSizeResponse]


class ThreadStorageResponse(ResponseBody):
    """What a thread's history takes up with whole values. `stored_bytes` is what it takes with versions of values that build on
    earlier ones; `shared_bytes` are inherited."""

    thread_id: Id
    total_bytes: int
    checkpoints: SizeResponse
    channel_values: ChannelsSizeResponse
    pending_writes: SizeResponse
    stored_bytes: int
    shared_bytes: int | UnsetType = UNSET


class RunResponse(ResponseBody):
    """One execution of an assistant."""

    run_id: Id
    thread_id: Id
    assistant_id: Id
    metadata: Object
    status: RunStatus
    kwargs: Object
    multitask_strategy: MultitaskStrategy
    created_at: Moment
    updated_at: Moment
    langsmith_session_name: str | None


class AssistantVersionResponse(ResponseBody):
    """A version of an assistant."""

    assistant_id: Id
    graph_id: str
    config: Object
    context: Object
    metadata: Object
    name: str
    description: str | None
    version: int
    created_at: Moment


class AssistantResponse(AssistantVersionResponse):
    """A graph with a configuration, in its current version."""

    updated_at: Moment


class DrawingResponse(ResponseBody):
    """Nodes and edges of a graph."""

    nodes: list[Object]
    edges: list[Object]


class SubgraphResponse(ResponseBody):
    """JSON schemas of a subgraph."""

    input_schema: Object | None
    output_schema: Object | None
    state_schema: Object | None
    config_schema: Object | None
    context_schema: Object | None


class SchemasResponse(ResponseBody):
    """JSON schemas of a graph."""

    graph_id: str
    input_schema: Object | None
    output_schema: Object | None
    state_schema: Object | None
    config_schema: Object | None
    context_schema: Object | None


class ItemResponse(ResponseBody):
    """A value in the long-term store. `score` tells its likeness to a search's query."""

    namespace: list[str]
    key: str
    value: Object
    created_at: Moment
    updated_at: Moment
    score: float | UnsetType | None = UNSET


class FoundItemsResponse(ResponseBody):
    """Items found."""

    items: list[ItemResponse]


class NamespacesResponse(ResponseBody):
    """Namespaces, each a list of labels."""

    namespaces: list[list[str]]


class CronResponse(ResponseBody):
    """A schedule that makes runs. The `last_…` fields tell of its latest firing."""

    cron_id: Id
    assistant_id: Id
    thread_id: Id | None
    user_id: str
    schedule: str
    timezone: str | None
    end_time: str | None
    payload: Object
    next_run_date: Moment | None
    metadata: Object
    on_run_completed: Literal["delete", "keep"] | None
    enabled: bool
    created_at: Moment
    updated_at: Moment
    last_fired_at: Moment | None
    last_run_id: Id | None
    last_error: str | None


class TryResponse(ResponseBody):
    """A try to deliver."""

    at: Moment
    status: int | None
    error: str | None


class DeliveryResponse(ResponseBody):
    """What a webhook is told of a run's end, and how the tries went."""

    delivery_id: Id
    run_id: Id
    thread_id: Id
    url: str
    status: DeliveryStatus
    created_at: Moment
    updated_at: Moment
    next_try_at: Moment | None
    tries_left: int
    tries: list[TryResponse]


class DeliveryInFullResponse(DeliveryResponse):
    """A delivery with what is told, but for `webhook_sent_at`."""

    payload: Object


class HealthResponse(ResponseBody):
    """Whether the server is well."""

    ok: bool
    services: dict[str, str] | UnsetType = UNSET


class InfoResponse(ResponseBody):
    """Versions and features. `reload` is there while the app's code is watched: which generation of it serves since when, and
    why what was changed last cannot be served."""

    version: str
    langgraph_py_version: str
    flags: Object
    host: Object
    reload: Object | UnsetType = UNSET
