"""What clients may ask for: one struct a request body, with the contract's names, defaults and limits.

`UNSET` means the field was not in the body; where None is in the type, `null` is a value of its own. Everything that
can be told from the body alone is checked here: ids are stored in their canonical spelling, so that services need no
second look. Errors raised: `msgspec.ValidationError` for a wrong shape, `errors.Invalid` (422) for the rest.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from threadloom.errors import Invalid
from threadloom.ids import parse_id
from threadloom.types import CancelAction, MultitaskStrategy, RunStatus, ThreadStatus, TtlStrategy

Object = dict[str, Any]
Limit = Annotated[int, Meta(ge=1, le=1000, description="At most this many results.")]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1, description="Leave out this many results first.")]
SortOrder = Literal["asc", "desc"]
StreamMode = Literal[
    "values", "updates", "messages", "messages-tuple", "tasks", "checkpoints", "debug", "custom", "events"
]
Durability = Literal["async", "sync", "exit"]
NodeNames = Annotated[
    Literal["*"] | list[str], Meta(description='Names of nodes, or "*" for all. Unknown names do nothing.')
]
Metadata = Annotated[Object, Meta(description="Any JSON object of the caller's.")]
Filter = Annotated[Object, Meta(description="Containment: all that is given must be found, deeply, with equal values.")]
Webhook = Annotated[str, Meta(min_length=1, max_length=65536, description="Called with the run when it has ended.")]
Config = Annotated[
    Object,
    Meta(
        description="Settings of the graph's call; further keys are kept.",
        extra_json_schema={
            "properties": {
                "tags": {"type": "array", "items": {"type": "string"}},
                "recursion_limit": {"type": "integer"},
                "configurable": {"type": "object"},
                "metadata": {"type": "object"},
            }
        },
    ),
]
Checkpoint = Annotated[
    Object,
    Meta(
        description="A place in a thread's history. Its `thread_id` is ignored: the path counts.",
        extra_json_schema={
            "properties": {
                "checkpoint_id": {"type": "string"},
                "checkpoint_ns": {"type": "string"},
                "checkpoint_map": {"type": ["object", "null"]},
                "thread_id": {"type": "string"},
            }
        },
    ),
]
StateFields = Annotated[
    str | list[str],
    Meta(description="Fields of the answer (list or comma-joined): a state's field, or `values.<key>`."),
]

STATE_FIELDS = ("values", "next", "tasks", "checkpoint", "metadata", "created_at", "parent_checkpoint", "interrupts")
ThreadField = Literal[
    "thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "status", "values", "interrupts"
]
THREAD_FIELDS = ThreadField.__args__  # type: ignore[attr-defined]
EXTRACT_ROOTS = ("config", "interrupts", "metadata", "values")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class BadLabel(Invalid):
    """A namespace label that cannot be; its answer is plain text (contract, store)."""


class Request(msgspec.Struct, kw_only=True):
    """The root of all request bodies. Unknown fields are ignored."""


# --- checks that a type cannot tell ---


def canonical(kind: str, text: str) -> str:
    """An id in canonical spelling. `kind` is `thread`, `run`, `assistant` or `cron`.

    Raises:
        Invalid: it is no UUID.
    """
    found = parse_id(text)
    if found is None:
        raise Invalid(f"Invalid {kind} ID: must be a UUID")
    return found


def state_fields(select: str | list[str]) -> list[str] | None:
    """The `select` of a state as a list of names; None means everything.

    Raises:
        Invalid: a name is no field of a state.
    """
    parts = [select] if isinstance(select, str) else select
    names = [name.strip() for part in parts for name in part.split(",") if name.strip()]
    for name in names:
        if name not in STATE_FIELDS and not (name.startswith("values.") and len(name) > len("values.")):
            raise Invalid(f"select: {name!r} is none of {', '.join(STATE_FIELDS)} or values.<key>")
    return names or None


def check_labels(labels: list[str]) -> None:
    """Refuses namespace labels that are empty or hold a period.

    Raises:
        BadLabel: with the first such label in its text.
    """
    for label in labels:
        if not label or "." in label:
            raise BadLabel(f"Namespace label '{label}' must be a non-empty string without periods")


def _check(value: Any, type_: Any, place: str) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as refused:
        raise Invalid(f"{place}: {refused} (got {value!r:.200})") from None


def check_config(config: Object | UnsetType) -> None:
    """Checks the known keys of a `config`; `2.0` becomes 2 in place.

    Raises:
        Invalid: a known key is of the wrong kind.
    """
    if not config:
        return
    if "tags" in config:
        _check(config["tags"], list[str], "config.tags")
    for key in ("configurable", "metadata"):
        if key in config:
            _check(config[key], Object, f"config.{key}")
    limit = config.get("recursion_limit", 0)
    if isinstance(limit, float) and limit.is_integer():
        config["recursion_limit"] = limit = int(limit)
    _check(limit, Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)], "config.recursion_limit")


def check_checkpoint(checkpoint: Object | UnsetType) -> None:
    """Checks the members of a `checkpoint`: all are text, `checkpoint_map` is an object of texts (or null).

    Raises:
        Invalid: one of them is not.
    """
    if not checkpoint:
        return
    for key in ("checkpoint_id", "checkpoint_ns", "thread_id"):
        if key in checkpoint:
            _check(checkpoint[key], str, f"checkpoint.{key}")
    _check(checkpoint.get("checkpoint_map"), Object | None, "checkpoint.checkpoint_map")


def _check_command(command: Object | None) -> None:
    if not command:
        return
    if "goto" in command:
        kind = str | list[str] | SendTo
        goto = command["goto"]
        if isinstance(goto, list) and goto and isinstance(goto[0], dict):
            kind = list[SendTo]
        elif isinstance(goto, dict):
            kind = SendTo
        else:
            kind = str | list[str]
        _check(goto, kind, "command.goto")
    update = command.get("update")
    if isinstance(update, list):
        _check(update, list[tuple[str, Any]], "command.update")
    else:
        _check(update, Object | None, "command.update")


class SendTo(Request):
    """Starts one node with an input of its own."""

    node: str
    input: Any


# --- threads ---


class ThreadTtl(Request):
    """How long a thread is to live, from now."""

    ttl: Annotated[float, Meta(description="Minutes.")] | UnsetType = UNSET
    strategy: TtlStrategy = "delete"


class NodeUpdate(Request):
    """State as if a node had returned it. `command` wins over `values`."""

    as_node: str
    values: Object | list[Any] | None | UnsetType = UNSET
    command: Object | None | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.command is not UNSET:
            _check_command(self.command)


class Superstep(Request):
    """Updates that are applied together, as one checkpoint."""

    updates: list[NodeUpdate]


class ThreadCreate(Request):
    """A new thread. `thread_id` is never empty: `""` counts as not given."""

    thread_id: str | UnsetType = UNSET
    metadata: Metadata = {}
    if_exists: Literal["raise", "do_nothing"] = "raise"
    ttl: ThreadTtl | UnsetType = UNSET
    supersteps: list[Superstep] = []

    def __post_init__(self) -> None:
        if self.thread_id is not UNSET:
            self.thread_id = canonical("thread", self.thread_id) if self.thread_id else UNSET


class ThreadPatch(Request):
    """Changes of a thread; `metadata` is merged at the top level."""

    metadata: Metadata | UnsetType = UNSET
    ttl: ThreadTtl | UnsetType = UNSET


class ThreadCount(Request):
    """Which threads to count."""

    metadata: Filter | UnsetType = UNSET
    values: Filter | UnsetType = UNSET
    status: ThreadStatus | UnsetType = UNSET


class ThreadSearch(ThreadCount):
    """Which threads to find, and what to show of them. Empty lists mean no filter, or all fields."""

    ids: list[str] = []
    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] = "updated_at"
    sort_order: SortOrder = "desc"
    select: list[ThreadField] = []
    extract: Annotated[
        dict[str, str],
        Meta(max_length=10, description="Alias to path (`values.a[0].b`); found under `extracted` in the answer."),
    ] = {}

    def __post_init__(self) -> None:
        self.ids = [canonical("thread", one) for one in self.ids]
        for alias, path in self.extract.items():
            if not _ALIAS.match(alias):
                raise Invalid(f"Extract key '{alias}' must be a valid identifier (letters, digits, underscores)")
            if alias in THREAD_FIELDS:
                raise Invalid(f"Extract keys cannot use reserved field names: ['{alias}']")
            if not path:
                raise Invalid(f"Extract path for '{alias}' must be a non-empty string")
            if re.split(r"[.\[]", path, maxsplit=1)[0] not in EXTRACT_ROOTS:
                raise Invalid(f"Extract path '{path}' must start with one of: {', '.join(EXTRACT_ROOTS)}")


class ThreadPrune(Request):
    """Threads to delete, or whose older checkpoints are to go."""

    thread_ids: list[str]
    strategy: TtlStrategy = "delete"

    def __post_init__(self) -> None:
        self.thread_ids = [canonical("thread", one) for one in self.thread_ids]


class ThreadCopy(Request, forbid_unknown_fields=True):
    """Options of a copy. Without any the whole thread is copied under a new id."""

    checkpoint_id: Annotated[str, Meta(description="The copy ends at this checkpoint.")] | UnsetType = UNSET
    thread_id: Annotated[str, Meta(description="Id of the copy.")] | UnsetType = UNSET
    if_exists: Literal["raise", "do_nothing"] = "raise"
    metadata: Annotated[Object, Meta(description="Merged over the copied metadata.")] = {}

    def __post_init__(self) -> None:
        if self.thread_id is not UNSET:
            self.thread_id = canonical("thread", self.thread_id) if self.thread_id else UNSET


# --- state ---


class StateAt(Request):
    """Which state to read: `{}` is the latest. After parsing, `select` is a list of names, or None for everything."""

    checkpoint: Checkpoint
    subgraphs: bool = False
    select: StateFields | None | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        self.select = state_fields(self.select or [])


class StateUpdate(Request):
    """State to write as if `as_node` had returned it; `checkpoint_id` is the older form of `checkpoint`."""

    values: Object | list[Any] | None | UnsetType = UNSET
    as_node: str | UnsetType = UNSET
    checkpoint: Checkpoint | UnsetType = UNSET
    checkpoint_id: str | None | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)


class HistoryQuery(Request):
    """Which states of a thread to list. After parsing, `before` is a checkpoint id or UNSET, `select` as in `StateAt`."""

    limit: Limit = 1
    before: Annotated[
        str | Object, Meta(description="A checkpoint id, a checkpoint, or a config with one in `configurable`.")
    ] | UnsetType = UNSET
    metadata: Filter = {}
    checkpoint: Checkpoint = {}
    select: StateFields | None | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        self.select = state_fields(self.select or [])
        before = self.before
        if isinstance(before, dict):
            inner = _check(before.get("configurable", {}), Object, "before.configurable")
            before = _check(inner.get("checkpoint_id", before.get("checkpoint_id", "")), str, "before.checkpoint_id")
        self.before = before or UNSET


# --- runs ---


class RunCreate(Request):
    """A run to make. After parsing, `stream_mode` is a list without repetitions, never empty."""

    assistant_id: Annotated[str, Meta(description="Id of an assistant, or the name of a graph.")]
    input: Annotated[Any, Meta(description="The graph's input; null goes on from where the thread is.")] = None
    command: Annotated[
        Object,
        Meta(
            description="Answers interrupts (`resume`), goes to nodes (`goto`), writes state (`update`). Wins over input.",
            extra_json_schema={"properties": {"update": {"type": ["object", "array", "null"]}, "resume": {}, "goto": {}}},
        ),
    ] | None = None
    checkpoint: Checkpoint | UnsetType = UNSET
    checkpoint_id: str | UnsetType = UNSET
    metadata: Metadata = {}
    config: Config = {}
    context: Object = {}
    webhook: Webhook | UnsetType = UNSET
    interrupt_before: NodeNames | UnsetType = UNSET
    interrupt_after: NodeNames | UnsetType = UNSET
    stream_mode: StreamMode | list[StreamMode] = []
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    on_disconnect: Literal["continue", "cancel"] = "continue"
    feedback_keys: list[str] | UnsetType = UNSET
    multitask_strategy: MultitaskStrategy = "enqueue"
    if_not_exists: Literal["reject", "create"] = "reject"
    after_seconds: Annotated[float, Meta(description="Earliest start, in seconds from now.")] = 0.0
    on_completion: Literal["delete", "keep"] = "delete"
    durability: Durability | UnsetType = UNSET
    checkpoint_during: Annotated[bool, Meta(description="Older form of durability: async or exit.")] | UnsetType = UNSET
    langsmith_tracer: Object | UnsetType = UNSET
    strict_resume: Annotated[bool, Meta(description="Refuse an answer to an interrupt that does not wait.")] = False

    def __post_init__(self) -> None:
        modes: list[StreamMode] = [self.stream_mode] if isinstance(self.stream_mode, str) else self.stream_mode
        self.stream_mode = list(dict.fromkeys(modes)) or ["values"]
        check_config(self.config)
        check_checkpoint(self.checkpoint)
        _check_command(self.command)
        if self.checkpoint_id is not UNSET:
            found = parse_id(self.checkpoint_id)
            if found is None:
                raise Invalid("Invalid checkpoint ID")
            self.checkpoint_id = found


class CancelRuns(Request):
    """Runs to cancel: all of a status, or the named ones of a thread; exactly one of the two."""

    status: Literal["pending", "running", "all"] | UnsetType = UNSET
    thread_id: str | UnsetType = UNSET
    run_ids: list[str] | UnsetType = UNSET

    def __post_init__(self) -> None:
        named = self.thread_id is not UNSET and self.run_ids is not UNSET
        some = self.thread_id is not UNSET or self.run_ids is not UNSET
        if (self.status is UNSET) != named or (some and not named):
            raise Invalid("Give either status, or thread_id together with run_ids")
        if self.thread_id is not UNSET and self.run_ids is not UNSET:
            self.thread_id = canonical("thread", self.thread_id)
            self.run_ids = [canonical("run", one) for one in self.run_ids]


class RunList(Request):
    """Which runs of a thread to list (a query, not a body). An empty `select` shows everything."""

    limit: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 10
    offset: Offset = 0
    status: RunStatus | UnsetType = UNSET
    select: list[str] = []


CancelHow = CancelAction
