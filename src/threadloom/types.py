"""The vocabulary: what the server keeps records of. `docs/words.md` explains the same words in the same order.

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
"""Statuses of a run that is still to end."""


class Ttl(msgspec.Struct, frozen=True):
    """When a thread is to go: `minutes` after it was set, at `expires_at`."""

    minutes: float
    strategy: TtlStrategy
    expires_at: int


class ForkedFrom(msgspec.Struct, frozen=True):
    """Where a copy came from. `checkpoint_id` is the newest checkpoint it took along, or None if there was none; `user_id` who
    made it, None where users are not told apart."""

    thread_id: str
    checkpoint_id: str | None
    at: int
    user_id: str | None = None


class Thread(msgspec.Struct, kw_only=True):
    """A conversation: a record here, and a history of checkpoints in the lineage.

    `values_json` and `interrupts_json` show the state as of the last run end or state update; None before. `priority` is what
    its runs get, once that was decided.
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


UNREADABLE = "__unreadable__"
"""Key of a run's kwargs, or a cron's payload, in place of what cannot be decrypted: why. It fails when it is executed."""

USER_AT = "__user_at__"
"""Key of a run's kwargs: the process that knows the whole user of the run (`auth.known`). Nobody is shown it."""


OPEN_QUESTIONS = "given"
"""Key of a run's kwargs: what was known when the answer that it brings was given (`engine.answers.Given`). Nobody is shown it."""


def names_questions(answer: Any) -> bool:
    """Whether an answer names its questions: all its keys, if it has any, are ids of interrupts."""
    return isinstance(answer, dict) and all(len(key) == 32 and set(key) <= _HEX for key in answer)


_HEX = frozenset("0123456789abcdef")


class Run(msgspec.Struct, kw_only=True):
    """One execution of an assistant on a thread. The row is also its place in the queue.

    `order` grows with each run made. `due` is the earliest start. Of runs that wait, the one with the smallest `priority` is
    claimed first. `fence` grows with every claim of any run: who
    writes for a run must hold its current fence. `cancel` is what was asked of a running run. `user_id` is who started it.
    `encryption_context` is what the user's encryption handlers were told when it was made, and are told of all that it writes.
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
        """Why it cannot be decrypted, if it cannot."""
        return self.kwargs.get(UNREADABLE)

    @property
    def shown_kwargs(self) -> dict[str, Any]:
        """What it was started with, as clients see it."""
        return {key: value for key, value in self.kwargs.items() if key not in (USER_AT, OPEN_QUESTIONS)}

    @property
    def was_begun_before(self) -> bool:
        """Whether an earlier attempt has begun it."""
        return self.started_at != self.updated_at

    @property
    def temporary(self) -> bool:
        """Whether its thread is thrown away at its end."""
        return bool(self.kwargs.get("temporary"))

    @property
    def stores_events(self) -> bool:
        """Whether events of it are stored: it is resumable, or a v2 run."""
        return bool(self.kwargs.get("resumable") or self.kwargs.get("event_streaming"))


class Outcome(msgspec.Struct, kw_only=True):
    """How a run ended, kept so that `join` answers the same whenever it is called.

    Attributes:
        output_json: the response of `wait` and `join` (with `__interrupt__` or `__error__` in it).
        checkpoint_id: None, or the root checkpoint whose state has the values of the output; `output_json` is the rest then.
    """

    run_id: str
    thread_id: str
    status: RunStatus
    output_json: bytes
    error: dict[str, Any] | None
    metadata: dict[str, Any]
    checkpoint_id: str | None = None


CHANNELS = "v2"
"""`mode` of the events that a v2 run tells on the channels of the v2 event stream; their `name` is the method."""

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
"""What a v2 event can tell."""

CHECKPOINT_MARK = "checkpoint"
"""`mode` of a stored event that is shown to nobody: what follows it came after the root checkpoint whose id is its `name`."""


class Event(msgspec.Struct, kw_only=True):
    """One event of a run, as streams send it.

    `name` is the event name on the wire (`values`, `updates|inner:<task>` …), `mode` the stream mode it belongs to
    (`""` for `metadata`, `error`, `end`, which every reader gets), with `|` and the namespace after it where the name does not
    tell the namespace. `ms` and `n` make the id `<ms>-<n>`, which always grows
    within a thread. `seq` is its gapless place among the stored events of its thread, 0 when it was not stored.
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
    """A schedule that starts runs: each on the one thread it belongs to, or (without) on a new thread a firing.

    `end_time` is as the caller wrote it. `next_run_date` is None when it will never fire again; it stands still while the
    cron is not `enabled`. `payload` is the request that each firing makes a run of. `user` is what is kept of who made it
    (identity, display name, permissions): its runs are that user's; None: nobody's. `last_run_id` and `last_error` tell of the
    latest firing (at `last_fired_at`): at most one of them is set. `encryption_context` is as that of a run.
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
    """Telling a webhook of a run's end, as often as it takes.

    `host` is the one of `url`; "" if that is a path of the server's own. `body_json` is what is told, but for the moment of
    telling. `due` is when the next try may begin; while `worker` makes one, it is when the claim is over. `claims` grows with
    every claim: who notes how a try went must hold the newest. After `tries_left` more tries in vain it has failed. `tries`
    tells how the latest ones went: `at` (a moment), `status` (of the answer) or `error`. Once it is not pending it is kept
    until `expires_at`.
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
    """Something remembered in the long-term store, under a namespace and a key.

    `ttl_minutes` after the last put or refreshing read it is gone, at `expires_at`; None: it stays. `score` is its likeness
    to a search's query (cosine, -1 to 1), None without one.
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
    """Who asks, and with what: passed to every service method. Without auth everyone is the same caller.

    `user` is what the authenticate handler gave, whole (see `auth.user`); `trusted` calls come from inside the process and
    are asked nothing. `known` are the answers of handlers that hold for the whole request. `trace` is what continues the
    request's trace (W3C `traceparent`), if traces are made.
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
        """The same caller with a new request: handlers are asked anew."""
        return msgspec.structs.replace(self, known={})


SYSTEM = Caller(trusted=True)
"""The server itself, acting for nobody."""
