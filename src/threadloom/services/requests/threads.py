"""Bodies of the threads routes, state and history included."""

import re
from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadloom.errors import Invalid
from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import check_count, check_filter
from threadloom.services.requests.common import (
    Checkpoint,
    Filter,
    Limit,
    Metadata,
    Object,
    Offset,
    SortOrder,
    StateFields,
    canonical,
    check,
    check_checkpoint,
    check_command,
    check_metadata,
    checkpoint_text,
    state_fields,
)
from threadloom.types import ThreadStatus, TtlStrategy

ThreadField = Literal[
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "config",
    "status",
    "values",
    "interrupts",
    "error",
    "forked_from",
    "root_thread_id",
]
THREAD_FIELDS = get_args(ThreadField)
EXTRACT_ROOTS = ("config", "interrupts", "metadata", "values")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class ThreadTtl(Struct, kw_only=True):
    """The time to live of a thread, from now."""

    ttl: Annotated[float, Meta(description="Minutes.")] | UnsetType = UNSET
    strategy: TtlStrategy = "delete"


class NodeUpdate(Struct, kw_only=True):
    """A state update as if a node had returned it. `command` takes precedence over `values`."""

    as_node: str
    values: Object | UnsetType | None = UNSET
    command: Object | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.command is not UNSET:
            check_command(self.command)


class Superstep(Struct, kw_only=True):
    """Updates that are applied together, as one checkpoint."""

    updates: Annotated[list[NodeUpdate], Meta(max_length=bounds.UPDATES.most)]


class ThreadCreate(Struct, kw_only=True):
    """A new thread. An empty `thread_id` counts as not given."""

    thread_id: str | UnsetType = UNSET
    metadata: Metadata = {}
    if_exists: Literal["raise", "do_nothing"] = "raise"
    ttl: ThreadTtl | UnsetType = UNSET
    supersteps: Annotated[list[Superstep], Meta(max_length=bounds.UPDATES.most)] = []

    def __post_init__(self) -> None:
        if self.thread_id is not UNSET:
            self.thread_id = canonical("thread", self.thread_id) if self.thread_id else UNSET
        check_metadata(self.metadata)
        check_count(sum(len(step.updates) for step in self.supersteps), bounds.UPDATES, "supersteps")


class ThreadPatch(Struct, kw_only=True):
    """Changes of a thread; `metadata` is merged at the top level."""

    metadata: Metadata | UnsetType = UNSET
    ttl: ThreadTtl | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_metadata(self.metadata)


def _thread_named(name: str, text: str) -> str:
    """Returns the id of a thread in canonical spelling. `name` is the field that names it.

    Raises:
        Invalid: it is no UUID.
    """
    try:
        return canonical("thread", text)
    except Invalid as error:
        raise Invalid(f"{name}: {error.detail}") from None


class ThreadCount(Struct, kw_only=True):
    """Which threads to count."""

    metadata: Filter | UnsetType = UNSET
    values: Filter | UnsetType = UNSET
    status: ThreadStatus | UnsetType = UNSET
    forked_from: Annotated[str, Meta(description="Direct copies of this thread.")] | UnsetType = UNSET
    root_thread_id: (
        Annotated[str, Meta(description="This thread and all that descend from it by copying.")] | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        check_filter(self.metadata, "metadata")
        check_filter(self.values, "values")
        for name in ("forked_from", "root_thread_id"):
            if getattr(self, name) is not UNSET:
                setattr(self, name, _thread_named(name, getattr(self, name)))


class ThreadSearch(ThreadCount, kw_only=True):
    """Which threads to find, and which fields to return. Empty lists mean no filter, or all fields."""

    ids: Annotated[list[str], Meta(max_length=bounds.IDS.most)] = field(default_factory=list)
    limit: Limit = 10
    offset: Offset = 0
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] = "updated_at"
    sort_order: SortOrder = "desc"
    select: Annotated[list[ThreadField], Meta(max_length=bounds.SELECT.most)] = field(default_factory=list)
    extract: Annotated[
        dict[str, Annotated[str, Meta(max_length=bounds.PATH.most)]],
        Meta(
            max_length=bounds.PATHS.most,
            description="Alias to path (`values.a[0].b`); found under `extracted` in the answer.",
        ),
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
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
            check_count(path.count(".") + path.count("["), bounds.STEPS, f"extract.{alias}")


class ThreadPrune(Struct, kw_only=True):
    """Threads to delete, or to prune to their latest state."""

    thread_ids: Annotated[list[str], Meta(extra_json_schema={"maxItems": bounds.PRUNE.most})]
    strategy: TtlStrategy = "delete"

    def __post_init__(self) -> None:
        check_count(len(self.thread_ids), bounds.PRUNE, "thread_ids")
        self.thread_ids = [canonical("thread", one) for one in self.thread_ids]


class CutCheckpoint(Struct, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint of the root graph or of a subgraph, as states show it. `thread_id` is ignored: the path counts."""

    checkpoint_id: Annotated[str, Meta(min_length=1)]
    checkpoint_ns: Annotated[str, Meta(description="Namespace of the subgraph; empty for the root graph.")] = ""
    checkpoint_map: (
        Annotated[
            dict[str, str],
            Meta(
                max_length=bounds.CHECKPOINT_MAP.most,
                description="Checked: ids of the checkpoints of the graphs around it.",
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    thread_id: str | UnsetType = UNSET


class ThreadCopy(Struct, kw_only=True, forbid_unknown_fields=True):
    """Options of a copy. Without options the whole thread is copied under a new id.

    After parsing, an empty `checkpoint_id` or `thread_id` counts as not given.
    """

    checkpoint_id: (
        Annotated[str, Meta(description="The copy ends at this checkpoint of the root graph.")] | UnsetType
    ) = UNSET
    checkpoint: CutCheckpoint | UnsetType = UNSET
    message_id: (
        Annotated[str, Meta(min_length=1, description="The copy ends before or after this message.")] | UnsetType
    ) = UNSET
    at: (
        Annotated[
            Literal["before", "after"],
            Meta(description="Of the message; without it before a human's and after any other."),
        ]
        | UnsetType
    ) = UNSET
    on_split: (
        Annotated[
            Literal["move", "refuse"],
            Meta(description="If tool calls would be separated from their results: end before the calls, or 409."),
        ]
        | UnsetType
    ) = UNSET
    keep: (
        Literal["all", "latest"]
        | Annotated[int, Meta(ge=1, le=100, description="Only the newest checkpoints; `latest` is 1.")]
    ) = "all"
    count: (
        Annotated[int, Meta(ge=1, le=bounds.COPIES.most, description="That many copies; the answer is a list.")]
        | UnsetType
    ) = UNSET
    thread_id: Annotated[str, Meta(description="Id of the copy.")] | UnsetType = UNSET
    if_exists: Literal["raise", "do_nothing"] = "raise"
    metadata: Annotated[
        Object | list[Object],
        Meta(description="Merged over the copied metadata; with `count` also a list, one for each copy."),
    ] = {}
    assistant_id: (
        Annotated[
            str, Meta(min_length=1, description="An assistant or a graph, which the metadata of the copy then name.")
        ]
        | UnsetType
    ) = UNSET
    ttl: ThreadTtl | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.checkpoint_id is not UNSET:
            self.checkpoint_id = self.checkpoint_id or UNSET
        if self.thread_id is not UNSET:
            self.thread_id = canonical("thread", self.thread_id) if self.thread_id else UNSET
        ends = [name for name in ("checkpoint_id", "checkpoint", "message_id") if getattr(self, name) is not UNSET]
        if len(ends) > 1:
            raise Invalid(f"{' and '.join(ends)} exclude each other: a copy ends at one place")
        for name in ("at", "on_split"):
            if getattr(self, name) is not UNSET and self.message_id is UNSET:
                raise Invalid(f"{name}: only with message_id")
        count = None if self.count is UNSET else self.count
        if count is not None and self.thread_id is not UNSET:
            raise Invalid("thread_id: many copies cannot have one id, so not with count")
        if count is not None and self.if_exists != "raise":
            raise Invalid("if_exists: new copies get new ids, so not with count")
        if not isinstance(self.metadata, list):
            check_metadata(self.metadata)
            return
        if len(self.metadata) != count:
            of_count = "no count" if count is None else f"{count} copies"
            raise Invalid(f"metadata: a list of {len(self.metadata)} for {of_count}")
        for number, metadata in enumerate(self.metadata):
            check_metadata(metadata, f"metadata[{number}]")


class ThreadReset(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where to move a thread: to a checkpoint, or back to where it was before its last move. Exactly one of the two."""

    checkpoint_id: Annotated[str, Meta(description="Id or tag of a root checkpoint.")] | UnsetType = UNSET
    undo: Literal[True] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.checkpoint_id is UNSET) == (self.undo is UNSET):
            raise Invalid("Give either checkpoint_id or undo")
        if self.checkpoint_id is not UNSET:
            self.checkpoint_id = checkpoint_text(self.checkpoint_id, "checkpoint_id")


class ThreadPromote(Struct, kw_only=True, forbid_unknown_fields=True):
    """The thread whose newest state another thread is moved to."""

    thread_id: Annotated[str, Meta(description="Id of a thread that descends from the same thread.")]

    def __post_init__(self) -> None:
        self.thread_id = canonical("thread", self.thread_id)


class TagPut(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where to set a tag, and what to do if it exists."""

    checkpoint_id: (
        Annotated[str, Meta(description="Id or tag of a root checkpoint; without it the newest one.")] | UnsetType
    ) = UNSET
    if_exists: Literal["raise", "move"] = "raise"

    def __post_init__(self) -> None:
        if self.checkpoint_id is not UNSET:
            self.checkpoint_id = checkpoint_text(self.checkpoint_id, "checkpoint_id")


class ThreadAppend(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to append to a thread: messages of another thread, or values of the caller's. Exactly one of the two."""

    thread_id: Annotated[str, Meta(description="Id of the thread that it comes from.")]
    checkpoint_id: (
        Annotated[str, Meta(description="Id or tag of a root checkpoint of that thread; without it the newest one.")]
        | UnsetType
    ) = UNSET
    message_ids: (
        Annotated[
            list[Annotated[str, Meta(min_length=1)]],
            Meta(min_length=1, max_length=bounds.APPENDED.most, description="Messages of that thread, in this order."),
        ]
        | UnsetType
    ) = UNSET
    values: Object | UnsetType = UNSET
    as_node: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        self.thread_id = canonical("thread", self.thread_id)
        if (self.message_ids is UNSET) == (self.values is UNSET):
            raise Invalid("Give either message_ids or values")
        if self.message_ids is not UNSET and len(set(self.message_ids)) < len(self.message_ids):
            raise Invalid("message_ids: an id is in it twice")
        if self.checkpoint_id is not UNSET:
            self.checkpoint_id = checkpoint_text(self.checkpoint_id, "checkpoint_id")


class StateAt(Struct, kw_only=True):
    """Which state to read: `{}` is the latest.

    After parsing, `select` is a list of names, or None for everything.
    """

    checkpoint: Checkpoint
    subgraphs: bool = False
    select: StateFields | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        self.select = state_fields(self.select or [])


class StateUpdate(Struct, kw_only=True):
    """A state update as if `as_node` had returned it. `checkpoint_id` is the older form of `checkpoint`."""

    values: Object | list[Any] | UnsetType | None = UNSET
    as_node: str | UnsetType = UNSET
    checkpoint: Checkpoint | UnsetType = UNSET
    checkpoint_id: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if isinstance(self.values, list):
            check_count(len(self.values), bounds.UPDATES, "values")
        check_checkpoint(self.checkpoint)


class HistoryQuery(Struct, kw_only=True):
    """Which states of a thread to list.

    After parsing, `before` is an id or UNSET, `select` as in `StateAt`.
    """

    limit: Limit = 1
    before: (
        Annotated[
            str | Object, Meta(description="A checkpoint id, a checkpoint, or a config with one in `configurable`.")
        ]
        | UnsetType
    ) = UNSET
    metadata: Filter = {}
    checkpoint: Checkpoint = {}
    select: StateFields | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        check_filter(self.metadata, "metadata")
        check_checkpoint(self.checkpoint)
        self.select = state_fields(self.select or [])
        before = self.before
        if isinstance(before, dict):
            inner = check(before.get("configurable", {}), Object, "before.configurable")
            before = check(inner.get("checkpoint_id", before.get("checkpoint_id")), str | None, "before.checkpoint_id")
        self.before = before or UNSET
