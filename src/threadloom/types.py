"""The records that the server keeps. `docs/words.md` explains the same words in the same order.

Moments are microseconds since 1970 (UTC), see `clock`. Fields named `…_json` hold JSON text as bytes, ready to be sent.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

ThreadStatus = Literal["idle", "busy", "interrupted", "error"]
RunStatus = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
MultitaskStrategy = Literal["reject", "enqueue", "interrupt", "rollback"]
CancelAction = Literal["interrupt", "rollback"]
TtlStrategy = Literal["delete", "keep_latest"]
DeliveryStatus = Literal["pending", "delivered", "failed"]

ACTIVE: tuple[RunStatus, ...] = ("pending", "running")
"""Statuses of a run that has not ended."""


class Ttl(msgspec.Struct, frozen=True):
    """The time to live of a thread: it expires `minutes` after it was set, at the moment `expires_at`."""

    minutes: float
    strategy: TtlStrategy
    expires_at: int


class ForkedFrom(msgspec.Struct, frozen=True):
    """The source of a copied thread.

    `checkpoint_id` is the newest checkpoint that was copied, or None if there was none. `user_id` is the user who made the copy;
    None without auth. `root_thread_id` is the first thread of the tree of copies; empty if it is the source itself.
    """

    thread_id: str
    checkpoint_id: str | None
    at: int
    user_id: str | None = None
    root_thread_id: str = ""


class Thread(msgspec.Struct, kw_only=True):
    """A conversation: this record, and a history of checkpoints in the lineage.

    `values_json` and `interrupts_json` show the state after the last run end or state update; None before. `priority` is the
    priority of its runs, once it was decided.
    """

    thread_id: str
    created_at: int
    updated_at: int
    state_updated_at: int
    metadata: dict[str, Any]
    status: ThreadStatus = "idle"
    config: dict[str, Any] = {}
    error: dict[str, Any] | None = None
    values_json: bytes | None = None
    interrupts_json: bytes | None = None
    ttl: Ttl | None = None
    forked_from: ForkedFrom | None = None
    priority: int | None = None

    @property
    def root_thread_id(self) -> str | None:
        """The first thread of the tree of copies that a copy belongs to; None for a thread that is no copy."""
        fork = self.forked_from
        return None if fork is None else fork.root_thread_id or fork.thread_id


UNREADABLE = "__unreadable__"
"""Key of a run's kwargs or a cron's payload that cannot be decrypted. Its value says why. Executing such a run fails."""

USER_AT = "__user_at__"
"""Key of a run's kwargs: the process that has the whole user of the run (`auth.run_users`). It is not shown to clients."""


OPEN_QUESTIONS = "given"
"""Key of a run's kwargs: the questions that were open when the run's answer was sent (`engine.answers.OpenQuestions`). It is not
shown to clients.
"""


def names_questions(answer: Any) -> bool:
    """Returns whether an answer names its questions: all its keys, if it has any, are ids of interrupts."""
    return isinstance(answer, dict) and all(len(key) == 32 and set(key) <= _HEX for key in answer)


_HEX = frozenset("0123456789abcdef")


class Run(msgspec.Struct, kw_only=True):
    """One execution of an assistant on a thread. The row is also the run's entry in the queue.

    `order` grows with each run that is created. `due` is the earliest start. Of several pending runs, the one with the smallest
    `priority` is claimed first. `fence` grows with every claim of any run: only the holder of the current fence may write for the
    run. `cancel` is the cancellation that was requested for a running run. `user_id` is the user who started it.
    `encryption_context` is the metadata that the encryption handlers got when the run was created; they get it for everything
    that the run writes.
    """

    run_id: str
    thread_id: str
    assistant_id: str
    status: RunStatus
    created_at: int
    updated_at: int
    metadata: dict[str, Any]
    kwargs: dict[str, Any]
    multitask_strategy: MultitaskStrategy
    due: int
    order: int = 0
    priority: int = 0
    attempt: int = 0
    fence: int = 0
    lease: int | None = None
    cancel: CancelAction | None = None
    user_id: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    encryption_context: dict[str, Any] | None = None

    @property
    def graph_id(self) -> str:
        graph_id: str = self.kwargs["config"]["configurable"]["graph_id"]
        return graph_id

    @property
    def unreadable(self) -> str | None:
        """The reason why the run cannot be decrypted, or None."""
        return self.kwargs.get(UNREADABLE)

    @property
    def shown_kwargs(self) -> dict[str, Any]:
        """The kwargs of the run as clients see them."""
        return {key: value for key, value in self.kwargs.items() if key not in (USER_AT, OPEN_QUESTIONS)}

    @property
    def was_begun_before(self) -> bool:
        """Whether an earlier attempt has started the run."""
        return self.started_at != self.updated_at

    @property
    def temporary(self) -> bool:
        """Whether the run's thread is discarded when the run ends."""
        return bool(self.kwargs.get("temporary"))

    @property
    def stores_events(self) -> bool:
        """Whether events of the run are stored: it is resumable, or a v2 run."""
        return bool(self.kwargs.get("resumable") or self.kwargs.get("event_streaming"))


class Outcome(msgspec.Struct, kw_only=True):
    """How a run ended. It is stored so that `join` returns the same response whenever it is called.

    Attributes:
        output_json: the response of `wait` and `join` (including `__interrupt__` or `__error__`).
        checkpoint_id: None, or the root checkpoint whose state has the values of the output. Then `output_json` is the rest.
    """

    run_id: str
    thread_id: str
    status: RunStatus
    output_json: bytes
    error: dict[str, Any] | None
    metadata: dict[str, Any]
    checkpoint_id: str | None = None


CHANNELS = "v2"
"""`mode` of the events of a v2 run on the channels of the v2 event stream. Their `name` is the method."""

METHODS = (
    "values",
    "updates",
    "messages",
    "tools",
    "lifecycle",
    "input.requested",
    "input.answered",
    "checkpoints",
    "tasks",
    "custom",
)
"""The methods of v2 events."""

CHECKPOINT_MARK = "checkpoint"
"""`mode` of a stored event that is not sent to clients. The events after it follow the root checkpoint whose id is its `name`."""


class Event(msgspec.Struct, kw_only=True):
    """One event of a run, as streams send it.

    `name` is the event name on the wire (`values`, `updates|inner:<task>` …). `mode` is the stream mode that it belongs to (`""`
    for `metadata`, `error`, `end`, which every reader gets), followed by `|` and the namespace if the name does not have the
    namespace. `ms` and `n` make the id `<ms>-<n>`, which always grows within a thread. `seq` is its gapless number among the
    stored events of its thread, 0 if it was not stored.
    """

    thread_id: str
    run_id: str
    name: str
    data: bytes
    mode: str = ""
    ms: int = 0
    n: int = 0
    seq: int = 0
    last: bool = False

    @property
    def id(self) -> str:
        return f"{self.ms}-{self.n}"


class Assistant(msgspec.Struct, kw_only=True):
    """A graph with a configuration, in one of its versions."""

    assistant_id: str
    graph_id: str
    version: int
    created_at: int
    updated_at: int
    name: str
    description: str | None = None
    config: dict[str, Any] = {}
    context: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class Cron(msgspec.Struct, kw_only=True):
    """A schedule that starts runs: all on its thread, or, if it has no thread, each on a new thread.

    `end_time` is as the caller wrote it. `next_run_date` is None when the cron will not fire again; it does not change while the
    cron is not `enabled`. `payload` is the request from which each firing makes a run. `user` is the stored part of the user who
    made the cron (identity, display name, permissions), to whom its runs belong; None: they belong to no user. `last_run_id` and
    `last_error` are the result of the latest firing (at `last_fired_at`): at most one of them is set. `encryption_context` is as
    that of a run.
    """

    cron_id: str
    assistant_id: str
    schedule: str
    created_at: int
    updated_at: int
    thread_id: str | None = None
    user_id: str | None = None
    user: dict[str, Any] | None = None
    timezone: str | None = None
    end_time: str | None = None
    payload: dict[str, Any] = {}
    next_run_date: int | None = None
    metadata: dict[str, Any] = {}
    on_run_completed: Literal["delete", "keep"] | None = None
    enabled: bool = True
    last_fired_at: int | None = None
    last_run_id: str | None = None
    last_error: str | None = None
    encryption_context: dict[str, Any] | None = None


class Delivery(msgspec.Struct, kw_only=True):
    """The notification of a webhook about a run's end, with its attempts.

    `host` is the host of `url`; "" if `url` is a path of the server itself. `body_json` is the body except for the time at which
    it is sent. `due` is when the next attempt may begin; while `worker` makes an attempt, it is when the claim expires. `claims`
    grows with every claim: only the holder of the newest claim may store the result of an attempt. After `tries_left` more failed
    attempts the delivery has failed. `tries` holds the results of the latest attempts: `at` (a moment), and `status` (of the
    response) or `error`. A delivery that is not pending is kept until `expires_at`.
    """

    delivery_id: str
    run_id: str
    thread_id: str
    url: str
    host: str = ""
    body_json: bytes
    created_at: int
    updated_at: int
    due: int
    tries_left: int
    status: DeliveryStatus = "pending"
    worker: str | None = None
    claims: int = 0
    tries: list[dict[str, Any]] = []
    expires_at: int | None = None


class Item(msgspec.Struct, kw_only=True):
    """A value in the long-term store, under a namespace and a key.

    It expires `ttl_minutes` after the last put or refreshing read, at `expires_at`; None: never. `score` is its similarity to a
    search's query (cosine, -1 to 1), None without a query.
    """

    namespace: tuple[str, ...]
    key: str
    value_json: bytes
    created_at: int
    updated_at: int
    ttl_minutes: float | None = None
    expires_at: int | None = None
    score: float | None = None


class Caller(msgspec.Struct, frozen=True):
    """The maker of a request, with what is known of it. Every service method takes one. Without auth all callers are equal.

    `user` is the whole result of the authenticate handler (see `auth.user`). `trusted` calls come from inside the process and are
    not authorized. `known` caches the results of handlers for the duration of the request. `trace` continues the request's trace
    (W3C `traceparent`), if there is one.
    """

    request_id: str = ""
    trace: str = ""
    user_id: str = ""
    headers: dict[str, str] = {}
    user: Any = None
    permissions: Sequence[Any] = ()
    trusted: bool = False
    known: dict[Any, Any] = {}

    def again(self) -> "Caller":
        """Returns the same caller for a new request: handlers are called again."""
        return msgspec.structs.replace(self, known={})


SYSTEM = Caller(trusted=True)
"""The server itself, acting for no user."""
