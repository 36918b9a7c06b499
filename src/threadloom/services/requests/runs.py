"""Bodies of the runs routes."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from threadloom.errors import Invalid
from threadloom.ids import parse_id
from threadloom.services.requests import bounds
from threadloom.services.requests.common import (
    Checkpoint,
    Config,
    Context,
    Durability,
    Metadata,
    NodeNames,
    Object,
    StreamMode,
    StreamModes,
    Webhook,
    canonical,
    check_checkpoint,
    check_command,
    check_config,
    check_metadata,
    is_tag_name,
)
from threadloom.types import MultitaskStrategy

CENTURY = 100 * 365 * 24 * 3600
"""The longest delay of a run's start, in seconds. Moments much later cannot be represented."""


class RunCreate(Struct, kw_only=True):
    """A run to create.

    After parsing, `stream_mode` is a list without repetitions, never empty, and `checkpoint_id` an id, the name of a tag,
    or UNSET.
    """

    assistant_id: Annotated[str, Meta(description="Id of an assistant, or the name of a graph.")]
    input: Annotated[Any, Meta(description="The graph's input; null goes on from where the thread is.")] = None
    command: (
        Annotated[
            Object,
            Meta(
                description="Answers interrupts (`resume`), goes to nodes (`goto`), writes state (`update`).",
                extra_json_schema={
                    "properties": {"update": {"type": ["object", "array", "null"]}, "resume": {}, "goto": {}}
                },
            ),
        ]
        | None
    ) = None
    checkpoint: Checkpoint | UnsetType = UNSET
    checkpoint_id: str | UnsetType | None = UNSET
    metadata: Metadata = {}
    config: Config = {}
    context: Context = {}
    webhook: Webhook | UnsetType = UNSET
    interrupt_before: NodeNames | UnsetType = UNSET
    interrupt_after: NodeNames | UnsetType = UNSET
    stream_mode: StreamModes = []
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    on_disconnect: Literal["continue", "cancel"] = "continue"
    feedback_keys: Annotated[list[str], Meta(max_length=bounds.KEYS.most)] | UnsetType = UNSET
    multitask_strategy: MultitaskStrategy = "enqueue"
    if_not_exists: Literal["reject", "create"] = "reject"
    after_seconds: Annotated[float, Meta(le=CENTURY, description="Earliest start, in seconds from now.")] = 0.0
    on_completion: Annotated[
        Literal["delete", "keep", "complete", "continue"],
        Meta(
            description="Whether the thread of a stateless run is deleted or kept at its end. On a given thread it means "
            "nothing: there the other two, which the JavaScript SDK has, pass."
        ),
    ] = "delete"
    durability: Durability | UnsetType = UNSET
    checkpoint_during: Annotated[bool, Meta(description="Older form of durability: async or exit.")] | UnsetType = UNSET
    langsmith_tracer: Object | UnsetType = UNSET
    strict_resume: Annotated[bool, Meta(description="Refuse an answer to an interrupt that does not wait.")] = False

    @property
    def modes(self) -> list[str]:
        """The stream modes as a list."""
        return list(self.stream_mode)

    def __post_init__(self) -> None:
        modes: list[StreamMode] = [self.stream_mode] if isinstance(self.stream_mode, str) else self.stream_mode
        self.stream_mode = list(dict.fromkeys(modes)) or ["values"]
        check_config(self.config)
        check_metadata(self.metadata)
        check_checkpoint(self.checkpoint)
        check_command(self.command)
        if not self.checkpoint_id:
            self.checkpoint_id = UNSET
        if isinstance(self.checkpoint_id, str):
            found = parse_id(self.checkpoint_id)
            if found is None and not is_tag_name(self.checkpoint_id):
                raise Invalid("Invalid checkpoint ID")
            self.checkpoint_id = found or self.checkpoint_id


class CancelRuns(Struct, kw_only=True):
    """Runs to cancel: all of a status, or the named ones of a thread; exactly one of the two."""

    status: Literal["pending", "running", "all"] | UnsetType = UNSET
    thread_id: str | UnsetType = UNSET
    run_ids: Annotated[list[str], Meta(max_length=bounds.IDS.most)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        named = self.thread_id is not UNSET and self.run_ids is not UNSET
        some = self.thread_id is not UNSET or self.run_ids is not UNSET
        if (self.status is UNSET) != named or (some and not named):
            raise Invalid("Give either status, or thread_id together with run_ids")
        if self.thread_id is not UNSET and self.run_ids is not UNSET:
            self.thread_id = canonical("thread", self.thread_id)
            self.run_ids = [canonical("run", one) for one in self.run_ids]
