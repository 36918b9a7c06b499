"""What the configuration says, as frozen records. `docs/settings.md` explains each field in a user's words.

Paths are absolute. Specs of code (`"./file.py:name"`, `"package.module:name"`) stay text: `graphs.load` resolves them
against `Settings.root`.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

Synchronous = Literal["normal", "full"]
MiddlewareOrder = Literal["middleware_first", "auth_first"]


class GraphSpec(msgspec.Struct, frozen=True):
    """Where a graph is (`path`, a spec of code), and description and config of its own assistant."""

    path: str
    description: str | None = None
    config: dict[str, Any] = {}


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of Starlette's CORS middleware, same names."""

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ("GET",)
    allow_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    allow_origin_regex: str | None = None
    expose_headers: tuple[str, ...] = ()
    max_age: int = 600


OPEN_CORS = Cors(allow_origins=("*",), allow_methods=("*",), allow_headers=("*",), expose_headers=("*",))
"""What holds when the configuration says nothing: any page may call the server, without credentials."""


CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})
"""Request headers that hold credentials. They are logged nowhere, and no pattern means them, only their whole names."""


class HeaderRules(msgspec.Struct, frozen=True):
    """Which request headers are meant: lower-case names or `*` patterns. `excludes` win; by default none."""

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
    """Semantic search: length of a vector, what makes vectors (a spec or `provider:model`), JSON paths embedded."""

    dims: int
    embed: str
    fields: tuple[str, ...] = ("$",)


class StoreTtl(msgspec.Struct, frozen=True, kw_only=True):
    """Time to live of store items, in minutes. No `sweep_interval_minutes`: expired items hide but are not removed."""

    default_ttl: float | None = None
    refresh_on_read: bool = True
    sweep_interval_minutes: float | None = None


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `store`."""

    index: StoreIndex | None = None
    ttl: StoreTtl = StoreTtl()
    path: str | None = None


class ThreadTtlSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Time to live of threads, in minutes; `sweep_limit` threads a sweep. No `default_ttl`: threads stay."""

    strategy: Literal["delete", "keep_latest"] = "delete"
    default_ttl: float | None = None
    sweep_interval_minutes: float = 5
    sweep_limit: int = 1000


class Serde(msgspec.Struct, frozen=True, kw_only=True):
    """Which user types values may be rebuilt into: paths of classes, True for all, None for none beside LangGraph's own. UNSET is
    LangGraph's default: all, unless LANGGRAPH_STRICT_MSGPACK is set."""

    allowed_json_modules: tuple[tuple[str, ...], ...] | bool | None = None
    allowed_msgpack_modules: tuple[tuple[str, ...], ...] | bool | msgspec.UnsetType | None = msgspec.UNSET
    pickle_fallback: bool = False


class CheckpointerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `checkpointer`."""

    ttl: ThreadTtlSettings = ThreadTtlSettings()
    serde: Serde = Serde()


class WebhookUrlRules(msgspec.Struct, frozen=True, kw_only=True):
    """Where webhooks may go. An empty tuple of domains or ports means any."""

    require_https: bool = False
    allowed_domains: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()
    max_url_length: int | None = None
    disable_loopback: bool = True
    disable_private_ips: bool = True


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `webhooks`. In `headers` the references to the environment are filled in."""

    env_prefix: str = "LG_WEBHOOK_"
    headers: dict[str, str] = {}
    url: WebhookUrlRules = WebhookUrlRules()


class AuthCache(msgspec.Struct, frozen=True, kw_only=True):
    """By which headers a user is known again, for how long, and how many are kept."""

    cache_keys: tuple[str, ...]
    ttl_seconds: float = 60
    max_size: int = 1000


class UiSettings(msgspec.Struct, frozen=True):
    """The block `ui_config`. `shared`: modules that clients' pages offer to bundles, beside React and the SDK."""

    shared: tuple[str, ...] = ()


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `auth`. `default` is what holds where no handler is in charge."""

    path: str
    disable_studio_auth: bool = False
    openapi: dict[str, Any] = {}
    cache: AuthCache | None = None
    default: Literal["allow", "deny"] = "allow"


class EncryptionSettings(msgspec.Struct, frozen=True):
    """The block `encryption`."""

    path: str


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept that nothing needs any more. None: runs stay, events as RESUMABLE_STREAM_TTL_SECONDS says, and
    no log file is written. A delivery of a webhook is kept so long after it was made or given up."""

    runs_days: float | None = None
    events_minutes: float | None = None
    logs_days: int | None = None
    deliveries_days: float = 7


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may have at once: runs that are still to end, open event streams; None: any number. `reader_bytes`: events
    that may wait in memory for one reader of a stream. `replay_bytes`: stored events that one run keeps for replay."""

    runs_per_user: int | None = None
    streams_per_user: int | None = None
    reader_bytes: int = 8 * 1024 * 1024
    replay_bytes: int = 256 * 1024 * 1024


class ThreadloomAuthSettings(msgspec.Struct, frozen=True):
    """What handlers of `auth` are asked beside what the reference asks. `implicit_threads`: of a run that makes a thread which
    stays, whether the thread may be made too (`create`), or only the run (`run`)."""

    implicit_threads: Literal["create", "run"] = "create"


class ThreadloomSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The block `threadloom`: what no other server of this API has. `allowed_hosts`: names that the server answers to beside
    the loopback's. `webhook_secrets`: each signs every delivery. `webhook_tries`: how often one is tried.
    `end_event`: whether the stream of each run ends with an `end` event.
    `lease_seconds`: silence after which a worker's runs are taken up by others. `drain_seconds`: how long a process of `serve`
    that was told to stop still takes requests. `keep_alive_seconds`: how long a connection without a request stays open.
    `allowed_origins`: origins whose pages may use the server beside those of `http.cors` (see `api.allowed_origins`)."""

    checkpoint_thread_id: bool = True
    end_event: bool = False
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


class UvSource(msgspec.Struct, frozen=True, kw_only=True):
    """The block `source`: a uv project to install from. `root` is relative to the configuration's folder."""

    root: str = "."
    package: str | None = None


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What only matters when an image is built. `packages`: dependencies that are no folder; `keep_pkg_tools`: tools that stay in
    the image, of pip, setuptools and wheel."""

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
    """What environment variables say. Each field has the variable's name, in lower case; seconds and bytes are in
    the name."""

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
    """Whether a place of code (what stands before the last colon) is a file, not a module."""
    return "/" in place or place.endswith(".py")


def _place(named: tuple[str, str]) -> tuple[str, str]:
    key, spec = named
    return key, spec.rpartition(":")[0]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the server is told, from `langgraph.json`, the environment and the command line.

    Attributes:
        root: the folder that relative paths start from (the configuration file's).
        path: the configuration file; None when the configuration came from environment variables.
        graphs: graph id -> where it is.
        dependencies: folders for `sys.path`, after `root`.
        env: variables to set in the process before any user code is imported.
        env_file: the file that they were read from, as it is named; None when they stand in the configuration.
        data: the data folder.
        vars: what the environment variables say (`env` wins over the process's own).
        warnings: what the user should hear at start: unknown keys, keys without effect, missing folders.
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
        """The code that is named: the key, and where it is, as `./path/to/file.py:variable` or `package.module:variable`."""
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
        """What of the code that is named lies in files that are not there: a line each, with key and file."""
        files = {key: self.root / place for key, place in map(_place, self.code.items()) if is_file(place)}
        return [f"{key}: there is no file {file}" for key, file in files.items() if not file.is_file()]

    @property
    def jobs(self) -> int:
        """How many runs this process executes at once; 0: it only serves."""
        return self.vars.n_jobs_per_worker

    @property
    def postgres_uri(self) -> str | None:
        """Where PostgreSQL is, if that keeps the data; else they are in `data`."""
        uri = self.vars.database_uri
        return None if uri is None or uri.startswith("sqlite:") else uri

    @property
    def where(self) -> str:
        """Where the data are, as may be shown: without user, password and options."""
        if self.postgres_uri is None:
            return str(self.data)
        kind, _, rest = self.postgres_uri.partition("://")
        return f"{kind}://{rest.partition('?')[0].rpartition('@')[2]}"

    @property
    def events_seconds(self) -> float:
        """How long the events of a run that ended can be replayed, and a stateless run's output be joined."""
        minutes = self.threadloom.retention.events_minutes
        return self.vars.resumable_stream_ttl_seconds if minutes is None else minutes * 60

    @property
    def base_url(self) -> str | None:
        """The server's own address, as graphs may call it, if known."""
        return self.vars.langgraph_api_url
