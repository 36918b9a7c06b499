"""Responses as structs. The interface description is generated from them, and from the structs of requests.

In the description their names have no `Response` at the end.
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
    """Why a message is not a command: `detail` if it is not JSON, else an error of the protocol."""

    type: Literal["error"] | UnsetType = UNSET
    id: Any = UNSET
    error: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class RpcRefusalResponse(ResponseBody):
    """Why a message was refused before it was parsed."""

    error: Any


class RunFailure(ResponseBody):
    """The class and the message of an error."""

    error: str
    message: str


class RunErrorResponse(ResponseBody):
    """How a run failed."""

    error: RunFailure = field(name="__error__")


class ForkedFromResponse(ResponseBody):
    """The source of a copied thread."""

    thread_id: Id
    checkpoint_id: str | None
    at: Moment


class CutResponse(ResponseBody):
    """Where a copy ends: at a checkpoint, which was named itself or by a message. `moved`: before the tool calls to which the
    named message belongs. `message` is the message that a copy which ends before it leaves out, if it is a human's.
    """

    checkpoint_id: str | None
    checkpoint_ns: str
    message_id: str | None
    at: str | None
    moved: bool
    message: Any = UNSET


class TtlResponse(ResponseBody):
    """The time to live of a thread."""

    strategy: TtlStrategy
    ttl_minutes: float
    expires_at: Moment


class MovedResponse(ResponseBody):
    """The newest root checkpoints that a thread saw before and after its head was moved."""

    from_: str | None = field(name="from")
    to: str | None


class TagResponse(ResponseBody):
    """A name for a checkpoint of a thread."""

    name: str
    checkpoint_id: str
    created_at: Moment
    updated_at: Moment


class ThreadResponse(ResponseBody):
    """A conversation. `values` are those of the state after the last run end or state update."""

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
    root_thread_id: Id | UnsetType | None = UNSET
    ttl: TtlResponse | UnsetType = UNSET
    moved: MovedResponse | UnsetType = UNSET
    extracted: Object | UnsetType = UNSET
    cut: CutResponse | UnsetType = UNSET


class TaskResponse(ResponseBody):
    """A task of the next superstep, with its result so far."""

    id: str
    name: str
    path: list[Any]
    error: str | None
    interrupts: list[Object]
    checkpoint: Object | None
    state: Any
    result: Any


class ThreadStateResponse(ResponseBody):
    """The state at a checkpoint, read through the graph. With `select`, only the selected fields."""

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
    """The checkpoint of a state update."""

    checkpoint: Object
    configurable: Object
    checkpoint_id: str


class PrunedResponse(ResponseBody):
    """How many threads were pruned."""

    pruned_count: int


class DeletedThreadsResponse(ResponseBody):
    """The ids of the deleted threads, if the request had `cascade`."""

    thread_ids: Sequence[Id]


class RelativeResponse(ResponseBody):
    """A thread of a tree of copies. `parent` is the thread that it is a copy of, if the caller may read it. Of a `hidden` thread
    nothing else is shown."""

    thread_id: Id | None
    parent: Id | None
    depth: int
    checkpoint_id: str | None = None
    at: Moment | None = None
    deleted: bool = False
    hidden: bool = False
    status: ThreadStatus | None = None
    updated_at: Moment | None = None
    metadata: Object = field(default_factory=dict)


class LineageResponse(ResponseBody):
    """A tree of copies in preorder: each thread follows the one that it is a copy of. `root_thread_id` is `null` if the caller
    may not read the root."""

    root_thread_id: Id | None
    threads: list[RelativeResponse]
    truncated: bool


class ComparedResponse(ResponseBody):
    """One side of a comparison: `ahead` checkpoints up to `head` are not in the other history."""

    thread_id: Id
    head: str | None
    ahead: int


class CommonResponse(ResponseBody):
    """The newest checkpoint that both histories have. `thread_id` is the nearest thread that both descend from, if the caller may
    read it."""

    checkpoint_id: str
    thread_id: Id | None


class FirstDifferenceResponse(ResponseBody):
    """The first checkpoint of each side after the common one."""

    a: str | None
    b: str | None


class ComparisonResponse(ResponseBody):
    """How two histories differ. `channels` and `messages` say how the states differ, from `a` to `b`; only if asked for."""

    a: ComparedResponse
    b: ComparedResponse
    common: CommonResponse | None
    first_difference: FirstDifferenceResponse | None
    equal: bool
    channels: dict[str, Object] | UnsetType = UNSET
    messages: list[Object] | UnsetType = UNSET


class CheckpointDigestResponse(ResponseBody):
    """The digest of a checkpoint with its parent and its pending writes: `null` if none was recorded, or if it cannot be read.
    `damage` says what differs from what was recorded, if the content was read."""

    checkpoint_ns: str
    checkpoint_id: str
    digest: str | None
    damage: list[str]


class DigestsResponse(ResponseBody):
    """A page of the digests of a history, newest first. `next` is the `before` of the next page, `null` on the last one."""

    thread_id: Id
    checkpoints: list[CheckpointDigestResponse]
    next: str | None


class SizeResponse(ResponseBody):
    """A number of records, and their size in bytes."""

    count: int
    bytes: int


class ChannelSizeResponse(ResponseBody):
    """The number of versions of a channel, and their size in bytes."""

    versions: int
    bytes: int


class ChannelsSizeResponse(ResponseBody):
    """The number of channel values, and their size in bytes."""

    count: int
    bytes: int
    by_channel: dict[str, ChannelSizeResponse]


class ThreadStorageResponse(ResponseBody):
    """The size of a thread's history with whole values. `stored_bytes` is its size with versions of values that build on earlier
    ones; `shared_bytes` are inherited."""

    thread_id: Id
    total_bytes: int
    checkpoints: SizeResponse
    channel_values: ChannelsSizeResponse
    pending_writes: SizeResponse
    stored_bytes: int | UnsetType = UNSET
    shared_bytes: int | UnsetType = UNSET


class TurnResponse(ResponseBody):
    """A message of a thread, on any of its branches; of a thread without messages, an input.

    `before` is the root checkpoint to fork from so that the message is replaced (null: there is none before it), `after` the
    first one that has it. `parent` and `siblings` are indices of turns: the message before it, and the alternatives at this
    point, oldest first, itself included. `active`: the newest state shows it. `copies` left at a checkpoint from this message up
    to the next one."""

    message_id: str | None
    role: str | None
    before: str | None
    after: str
    run_id: str | None
    created_at: Moment | None
    parent: int | None
    siblings: Sequence[int]
    active: bool
    copies: Sequence[Id]


class BranchesResponse(ResponseBody):
    """The map of a thread. `head` is the newest root checkpoint. `copies` left before the first turn, or at a checkpoint that was
    removed. `truncated`: only the newest `checkpoints` were read, or not all copies are named."""

    thread_id: Id
    head: str | None
    turns: Sequence[TurnResponse]
    copies: Sequence[Id]
    checkpoints: int
    truncated: bool


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


class QueuedRunResponse(ResponseBody):
    """A pending or running run: who executes it, or what it waits for. `ahead` is how many runs start before it, null while
    another run of its thread is before it."""

    run_id: Id
    thread_id: Id
    assistant_id: Id
    status: RunStatus
    created_at: Moment
    starts_at: Moment | None
    attempt: int
    max_attempts: int
    worker: str | None
    lease_seconds: float | None
    ahead: int | None
    reason: str


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
    """A value in the long-term store. `score` is its similarity to the query of a search."""

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
    """A schedule that starts runs. The `last_…` fields describe its latest firing."""

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
    """An attempt of a delivery."""

    at: Moment
    status: int | None
    error: str | None


class DeliveryResponse(ResponseBody):
    """The notification of a webhook about a run's end, with the results of its attempts."""

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
    """A delivery with its body, without `webhook_sent_at`."""

    payload: Object


class HealthResponse(ResponseBody):
    """Whether the server is well."""

    ok: bool
    services: dict[str, str] | UnsetType = UNSET


class InfoResponse(ResponseBody):
    """Versions and features. `reload` is present while the app's code is watched: the generation of the code that is served and
    since when, and why the last change cannot be served."""

    version: str
    langgraph_py_version: str
    flags: Object
    host: Object
    reload: Object | UnsetType = UNSET


class ServerResponse(ResponseBody):
    """What the server is made of: `versions` of packages, its data in `storage`, its `graphs`, `configuration` and `environment`
    without secrets, runs in the `queue`, places for runs as `workers`, and the newest warnings and errors of the log of this
    process as `failures`, the newest first."""

    started_at: Moment
    versions: Object
    storage: Object
    graphs: list[Object]
    configuration: Object | None
    environment: Object
    queue: Object
    workers: Object
    failures: list[Object]
