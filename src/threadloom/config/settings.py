"""The settings as frozen records. `docs/settings.md` explains each field for users.

Paths are absolute. Specs of code (`"./file.py:name"`, `"package.module:name"`) stay text: `graphs.load` resolves them
against `Settings.root`.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from threadloom.config.host_names import host_of, is_loopback

Synchronous = Literal["normal", "full"]
MiddlewareOrder = Literal["middleware_first", "auth_first"]


class GraphSpec(msgspec.Struct, frozen=True):
    """The location of a graph (`path`, a spec of code), and description and config of its default assistant."""

    path: str
    description: str | None = None
    config: dict[str, Any] = {}


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of Starlette's CORS middleware, with the same names."""

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ("GET",)
    allow_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    allow_origin_regex: str | None = None
    expose_headers: tuple[str, ...] = ()
    max_age: int = 600


OPEN_CORS = Cors(allow_origins=("*",), allow_methods=("*",), allow_headers=("*",), expose_headers=("*",))
"""The default without a configuration: any page may call the server, without credentials."""


CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
"""Request headers that hold credentials. They are never logged. A pattern does not match them: only their whole names do."""


class HeaderRules(msgspec.Struct, frozen=True):
    """Selects request headers by lower-case names or `*` patterns. `excludes` take precedence. By default no header is
    selected.
    """

    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `http`. `mount_prefix` is "" or begins with a slash and ends without one."""

    app: str | None = None
    mount_prefix: str = ""
    cors: Cors = OPEN_CORS
    cors_configured: bool = False
    configurable_headers: HeaderRules = HeaderRules()
    logging_headers: HeaderRules = HeaderRules()
    middleware_order: MiddlewareOrder = "middleware_first"
    enable_custom_route_auth: bool = False
    disable_assistants: bool = False
    disable_threads: bool = False
    disable_runs: bool = False
    disable_store: bool = False
    disable_mcp: bool = False
    disable_a2a: bool = False
    disable_ui: bool = False
    disable_event_streaming: bool = False
    disable_meta: bool = False
    disable_webhooks: bool = False


class StoreIndex(msgspec.Struct, frozen=True):
    """Semantic search: the dimensions of a vector, the embedding function (a spec or `provider:model`), the JSON paths that are
    embedded.
    """

    dims: int
    embed: str
    fields: tuple[str, ...] = ("$",)


class StoreTtl(msgspec.Struct, frozen=True, kw_only=True):
    """Time to live of store items, in minutes. Without `sweep_interval_minutes`, expired items are hidden, but not removed."""

    default_ttl: float | None = None
    refresh_on_read: bool = True
    sweep_interval_minutes: float | None = None


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `store`."""

    index: StoreIndex | None = None
    ttl: StoreTtl = StoreTtl()
    path: str | None = None


class ThreadTtlSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Time to live of threads, in minutes; `sweep_limit`: threads that one sweep removes at most. Without `default_ttl`, threads
    do not expire.
    """

    strategy: Literal["delete", "keep_latest"] = "delete"
    default_ttl: float | None = None
    sweep_interval_minutes: float = 5
    sweep_limit: int = 1000


class Serde(msgspec.Struct, frozen=True, kw_only=True):
    """The user types that deserialization may construct: paths of classes; True: all; None: none but LangGraph's own. UNSET is
    LangGraph's default: all, unless LANGGRAPH_STRICT_MSGPACK is set.
    """

    allowed_json_modules: tuple[tuple[str, ...], ...] | bool | None = None
    allowed_msgpack_modules: tuple[tuple[str, ...], ...] | bool | msgspec.UnsetType | None = msgspec.UNSET
    pickle_fallback: bool = False


class CheckpointerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `checkpointer`."""

    ttl: ThreadTtlSettings = ThreadTtlSettings()
    serde: Serde = Serde()


class WebhookUrlRules(msgspec.Struct, frozen=True, kw_only=True):
    """The URLs that webhooks may call. An empty tuple of domains or ports means any."""

    require_https: bool = False
    allowed_domains: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()
    max_url_length: int | None = None
    disable_loopback: bool = True
    disable_private_ips: bool = True


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `webhooks`. In `headers`, the references to the environment are already replaced."""

    env_prefix: str = "LG_WEBHOOK_"
    headers: dict[str, str] = {}
    url: WebhookUrlRules = WebhookUrlRules()


class AuthCache(msgspec.Struct, frozen=True, kw_only=True):
    """The cache of authenticated users: the headers that form its key, the time to live, and the number of users."""

    cache_keys: tuple[str, ...]
    ttl_seconds: float = 60
    max_size: int = 1000


class UiSettings(msgspec.Struct, frozen=True):
    """The block `ui_config`. `shared`: modules that clients' pages provide to bundles, in addition to React and the SDK."""

    shared: tuple[str, ...] = ()


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `auth`. `default` is the decision where no handler is registered."""

    path: str
    disable_studio_auth: bool = False
    openapi: dict[str, Any] = {}
    cache: AuthCache | None = None
    default: Literal["allow", "deny"] = "allow"


class EncryptionSettings(msgspec.Struct, frozen=True):
    """The block `encryption`."""

    path: str


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long records are kept after they are no longer needed. None: runs are kept, events are kept for
    RESUMABLE_STREAM_TTL_SECONDS, and no log file is written. A delivery of a webhook is kept for this time after it succeeded or
    failed for good.
    """

    runs_days: float | None = None
    events_minutes: float | None = None
    logs_days: int | None = None
    deliveries_days: float = 7


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one user: runs that have not ended, open event streams; None: no limit. `reader_bytes`: bytes of events
    that may wait in memory for one reader of a stream. `replay_bytes`: bytes of stored events that one run keeps for replay.
    """

    runs_per_user: int | None = None
    streams_per_user: int | None = None
    reader_bytes: int = 8 * 1024 * 1024
    replay_bytes: int = 256 * 1024 * 1024


class ThreadloomAuthSettings(msgspec.Struct, frozen=True):
    """Additional questions to the handlers of `auth`, which the reference does not ask. `implicit_threads`: for a run that
    creates a thread which is kept, whether the handlers are asked about the thread too (`create`), or only about the run (`run`).
    """

    implicit_threads: Literal["create", "run"] = "create"


class ThreadloomSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `threadloom`: settings that no other server of this API has. `allowed_hosts`: host names that the server accepts
    in addition to those of the loopback. `webhook_secrets`: each signs every delivery. `webhook_tries`: attempts at a delivery.
    `end_event`: whether the stream of each run ends with an `end` event. `isolate_forks`: whether subgraphs see of a thread's
    forks in place only their own branch (see `checkpointer.branching`). `lease_seconds`: time without a renewal after which other
    workers take over a worker's runs. `drain_seconds`: how long a process of `serve` accepts requests after it was told to stop.
    `keep_alive_seconds`: how long an idle connection stays open. `allowed_origins`: origins whose pages may use the server, in
    addition to those of `http.cors` (see `api.allowed_origins`). `studio`: whether the page is served; None: by default (see
    `Settings.serves_studio`).
    """

    checkpoint_thread_id: bool = True
    end_event: bool = False
    isolate_forks: bool = False
    webhook_secrets: tuple[str, ...] = ()
    webhook_tries: int = 7
    synchronous: Synchronous = "normal"
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    lease_seconds: float = 30
    drain_seconds: int = 5
    keep_alive_seconds: int = 120
    auth: ThreadloomAuthSettings = ThreadloomAuthSettings()
    studio: bool | None = None


class UvSource(msgspec.Struct, frozen=True, kw_only=True):
    """The block `source`: a uv project to install from. `root` is relative to the configuration's folder."""

    root: str = "."
    package: str | None = None


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that only matter when an image is built. `packages`: dependencies that are no folder; `keep_pkg_tools`: which of
    pip, setuptools and wheel stay in the image.
    """

    python_version: str = "3.11"
    base_image: str | None = None
    image_distro: Literal["debian", "wolfi", "bookworm"] = "debian"
    api_version: str | None = None
    node_version: str | None = None
    dockerfile_lines: tuple[str, ...] = ()
    pip_config_file: str | None = None
    pip_installer: Literal["auto", "pip", "uv"] = "auto"
    keep_pkg_tools: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    source: UvSource | None = None


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The values of environment variables. Each field has the variable's name in lower case. The names tell which values are
    seconds or bytes.
    """

    database_uri: str | None = None
    redis_uri: str | None = None
    redis_key_prefix: str = ""
    redis_cluster: bool = False
    redis_max_connections: int = 2000
    redis_connect_timeout: float = 10
    langgraph_postgres_pool_max_size: int = 20
    n_jobs_per_worker: int = 100
    bg_job_timeout_secs: float = 86_400
    bg_job_max_retries: int = 3
    bg_job_shutdown_grace_period_secs: float = 180
    bg_job_isolated_loops: bool = False
    resumable_stream_ttl_seconds: float = 120
    lsd_protocol_v2_buffer_size: int = 10_000
    langgraph_aes_key: str | None = None
    langgraph_aes_key_old: str | None = None
    langgraph_aes_json_keys: tuple[str, ...] = ()
    http_max_request_body_bytes: int = 300 * 1024 * 1024
    max_stream_chunk_size_bytes: int = 128 * 1024 * 1024
    cron_scheduler_sleep_time: float = 5
    ff_crons_enabled: bool = True
    log_level: str = "INFO"
    log_json: bool | None = None
    log_color: bool = True
    langsmith_tracing: bool = False
    langsmith_api_key: str | None = None
    langsmith_endpoint: str | None = None
    otel_exporter_otlp_endpoint: str | None = None
    metric_prefix: str = "lg_api_"
    langgraph_api_url: str | None = None
    port: int | None = None
    langgraph_server_host: str | None = None
    threadloom_data: str | None = None
    threadloom_studio_auth: bool = False


def is_file(place: str) -> bool:
    """Returns whether the part of a spec before the last colon is a file, not a module."""
    return "/" in place or place.endswith(".py")


def _place(named: tuple[str, str]) -> tuple[str, str]:
    key, spec = named
    return key, spec.rpartition(":")[0]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, from `langgraph.json`, the environment and the command line.

    Attributes:
        root: the folder that relative paths start from (the configuration file's).
        path: the configuration file; None if the configuration came from environment variables.
        graphs: graph id -> its spec.
        dependencies: folders for `sys.path`, after `root`.
        env: variables to set in the process before any user code is imported.
        env_file: the file that they were read from, as the configuration names it; None if the configuration holds them itself.
        data: the data folder.
        vars: the values of the environment variables (`env` takes precedence over those of the process).
        warnings: messages for the user at start: unknown keys, keys without effect, missing folders.
    """

    root: Path
    path: Path | None = None
    graphs: dict[str, GraphSpec]
    dependencies: tuple[Path, ...] = ()
    env: dict[str, str] = {}
    env_file: str | None = None
    http: HttpSettings = HttpSettings()
    store: StoreSettings = StoreSettings()
    checkpointer: CheckpointerSettings = CheckpointerSettings()
    webhooks: WebhookSettings = WebhookSettings()
    auth: AuthSettings | None = None
    encryption: EncryptionSettings | None = None
    priority: str | None = None
    ui: dict[str, str] = {}
    ui_config: UiSettings = UiSettings()
    threadloom: ThreadloomSettings = ThreadloomSettings()
    image: ImageSettings = ImageSettings()
    vars: Environment = Environment()
    data: Path
    disable_persistence: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def code(self) -> dict[str, str]:
        """All specs of code: key -> `./path/to/file.py:variable` or `package.module:variable`."""
        named = {f"graphs.{graph_id}": graph.path for graph_id, graph in self.graphs.items()}
        others = {
            "http.app": self.http.app,
            "auth.path": self.auth.path if self.auth else None,
            "encryption.path": self.encryption.path if self.encryption else None,
            "priority.path": self.priority,
            "store.path": self.store.path,
            "store.index.embed": self.store.index.embed if self.store.index else None,
        }
        return named | {key: spec for key, spec in others.items() if spec is not None}

    def missing_files(self) -> list[str]:
        """Returns one line for each spec of code whose file is missing, with key and file."""
        files = {key: self.root / place for key, place in map(_place, self.code.items()) if is_file(place)}
        return [f"{key}: there is no file {file}" for key, file in files.items() if not file.is_file()]

    @property
    def jobs(self) -> int:
        """How many runs this process executes concurrently; 0: it only serves requests."""
        return self.vars.n_jobs_per_worker

    @property
    def serves_studio(self) -> bool:
        """Whether the page `/studio` is served. By default it is, except with authentication on an address that other machines
        reach. `http.disable_meta` disables it with the other routes about the server.
        """
        if self.http.disable_meta:
            return False
        if self.threadloom.studio is not None:
            return self.threadloom.studio
        listens = self.vars.langgraph_server_host
        return self.auth is None or listens is None or is_loopback(host_of(listens))

    @property
    def postgres_uri(self) -> str | None:
        """The URI of PostgreSQL, if PostgreSQL stores the data; None: they are in `data`."""
        uri = self.vars.database_uri
        return None if uri is None or uri.startswith("sqlite:") else uri

    @property
    def where(self) -> str:
        """The location of the data for messages: without user, password and options."""
        if self.postgres_uri is None:
            return str(self.data)
        kind, _, rest = self.postgres_uri.partition("://")
        return f"{kind}://{rest.partition('?')[0].rpartition('@')[2]}"

    @property
    def events_seconds(self) -> float:
        """How long, in seconds, the events of an ended run can be replayed, and the output of a stateless run can be joined."""
        minutes = self.threadloom.retention.events_minutes
        return self.vars.resumable_stream_ttl_seconds if minutes is None else minutes * 60

    @property
    def base_url(self) -> str | None:
        """The server's own address for calls from graphs, if it is known."""
        return self.vars.langgraph_api_url
