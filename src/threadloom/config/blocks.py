"""Reads each block of `langgraph.json` into its record."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from threadloom.config.sections import Findings, Section, kind
from threadloom.config.settings import (
    OPEN_CORS,
    AuthCache,
    AuthSettings,
    CheckpointerSettings,
    Cors,
    EncryptionSettings,
    GraphSpec,
    HeaderRules,
    HttpSettings,
    Serde,
    StoreIndex,
    StoreSettings,
    StoreTtl,
    ThreadTtlSettings,
    UiSettings,
    WebhookSettings,
    WebhookUrlRules,
)

FORMS = 'write "./path/to/file.py:variable" or "package.module:variable"'
JAVASCRIPT = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx", ".jsx")
DISABLE = (
    "assistants",
    "threads",
    "runs",
    "store",
    "mcp",
    "a2a",
    "ui",
    "event_streaming",
    "meta",
    "webhooks",
)
REFERENCE = re.compile(r"\$\{\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def check_spec(spec: str) -> str | None:
    """Returns why a text does not name a variable in a Python file or module, or None if it does."""
    place, colon, name = spec.rpartition(":")
    file = place if colon else spec
    if file.endswith(JAVASCRIPT):
        return f"{spec!r} is JavaScript or TypeScript, and this server runs Python graphs only"
    if not colon or not place.strip() or not name.strip():
        return f"{spec!r} does not say which variable is meant; {FORMS}"
    return None


def spec(section: Section, key: str) -> str | None:
    """Returns the spec of code under a key. A malformed one is reported as a fault."""
    value = section.text(key)
    if value is not None and (why := check_spec(value)):
        section.fault(key, why)
        return None
    return value


def read_graphs(top: Section) -> dict[str, GraphSpec]:
    value = top.mapping("graphs")
    if not value:
        if value is not None or not top.has("graphs"):
            top.fault("graphs", 'No graphs found in config: name at least one, as {"agent": "./agent.py:graph"}')
        return {}
    found: dict[str, GraphSpec] = {}
    graphs = Section(value, top.at("graphs"), top.findings)
    for graph_id, entry in value.items():
        if not graph_id:
            graphs.fault('""', "a graph id must not be empty")
        elif isinstance(entry, dict):
            one = Section(entry, graphs.at(graph_id), top.findings)
            if not one.has("path"):
                one.fault("path", f"is missing; {FORMS}")
            path = spec(one, "path")
            description = one.text("description")
            one.done()
            if path is not None:
                found[graph_id] = GraphSpec(path, description)
        elif not isinstance(entry, str):
            graphs.fault(graph_id, f"must be text or an object with path, got {kind(entry)}; {FORMS}")
        elif why := check_spec(entry):
            graphs.fault(graph_id, why)
        else:
            found[graph_id] = GraphSpec(entry)
    return found


def with_configs(graphs: dict[str, GraphSpec], configs: Section) -> dict[str, GraphSpec]:
    """Returns the graphs with the config that `LANGGRAPH_CONFIG` sets for the default assistant of each."""
    for graph_id in configs.value:
        if graph_id not in graphs:
            configs.findings.warn(configs.at(graph_id), "is no graph of this configuration")
    return {
        graph_id: msgspec.structs.replace(spec, config=_own_config(configs, graph_id))
        for graph_id, spec in graphs.items()
    }


def _own_config(configs: Section, graph_id: str) -> dict[str, Any]:
    config = configs.section(graph_id)
    if config is None:
        return {}
    known = {
        "configurable": config.mapping("configurable"),
        "metadata": config.mapping("metadata"),
        "tags": config.texts("tags") or None,
        "recursion_limit": config.integer("recursion_limit", least=1),
    }
    return {key: value for key, value in config.value.items() if known.get(key, True) is not None}


def read_cors(section: Section) -> Cors:
    cors = Cors(
        allow_origins=section.texts("allow_origins"),
        allow_methods=section.texts("allow_methods", ("GET",)),
        allow_headers=section.texts("allow_headers"),
        allow_credentials=section.flag("allow_credentials"),
        allow_origin_regex=section.text("allow_origin_regex"),
        expose_headers=section.texts("expose_headers"),
        max_age=600 if (age := section.integer("max_age")) is None else age,
    )
    section.done()
    if cors.allow_origin_regex is not None:
        try:
            re.compile(cors.allow_origin_regex)
        except re.error as error:
            section.fault("allow_origin_regex", f"is no regular expression: {error}")
    return cors


def read_header_rules(section: Section | None) -> HeaderRules:
    if section is None:
        return HeaderRules()
    rules = HeaderRules(
        tuple(name.lower() for name in (*section.texts("includes"), *section.texts("include"))),
        tuple(name.lower() for name in (*section.texts("excludes"), *section.texts("exclude"))),
    )
    section.done()
    return rules


def check_prefix(text: str | None, where: str, findings: Findings) -> str:
    """Returns a mount prefix without its last slash; "" for none. A prefix that cannot be served is reported as a fault."""
    prefix = (text or "").rstrip("/")
    if not prefix:
        return ""
    if not prefix.startswith("/"):
        findings.fault(where, f'must begin with "/", got {text!r}')
    elif prefix == "/noauth" or prefix.startswith("/noauth/"):
        findings.fault(where, '"/noauth" is reserved')
    elif re.search(r"[{}?#\s]|//", prefix):
        findings.fault(where, f"must be a plain path, got {text!r}")
    return prefix


def read_http(
    section: Section | None, env: Mapping[str, str], from_env: Mapping[str, Any], findings: Findings
) -> HttpSettings:
    """Reads the block `http`. `from_env` holds the JSON of `CORS_CONFIG`, if set; `env` the variables that take precedence over
    keys.
    """
    section = section or Section({}, "http", findings)
    cors, configured = OPEN_CORS, False
    block = section.section("cors")
    if (given := from_env.get("CORS_CONFIG")) is not None:
        block = Section(given, "CORS_CONFIG", findings)
    if block is not None:
        cors, configured = read_cors(block), True
        if env.get("CORS_ALLOW_ORIGINS", "").strip():
            findings.warn("CORS_ALLOW_ORIGINS", f"has no effect beside {block.where}")
    elif origins := [origin.strip() for origin in env.get("CORS_ALLOW_ORIGINS", "").split(",") if origin.strip()]:
        methods = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
        open_to_all = "*" in origins
        cors = Cors(
            allow_origins=tuple(origins), allow_methods=methods, allow_headers=("*",), allow_credentials=not open_to_all
        )
        configured = True
    prefix = check_prefix(section.text("mount_prefix"), section.at("mount_prefix"), findings)
    for name in ("LANGGRAPH_MOUNT_PREFIX", "MOUNT_PREFIX"):
        if env.get(name):
            prefix = check_prefix(env[name], name, findings)
    http = HttpSettings(
        app=spec(section, "app"),
        mount_prefix=prefix,
        cors=cors,
        cors_configured=configured,
        configurable_headers=read_header_rules(section.section("configurable_headers")),
        logging_headers=read_header_rules(section.section("logging_headers")),
        middleware_order=section.one_of("middleware_order", ("middleware_first", "auth_first"), "middleware_first"),
        enable_custom_route_auth=section.flag("enable_custom_route_auth"),
        **{f"disable_{name}": section.flag(f"disable_{name}") for name in DISABLE},
    )
    section.done()
    return http


def read_store(section: Section | None) -> StoreSettings:
    if section is None:
        return StoreSettings()
    index, ttl = None, StoreTtl()
    if (block := section.section("index")) is not None:
        for key in ("dims", "embed"):
            if not block.has(key):
                block.fault(key, "is required")
        dims, embed = block.integer("dims", least=1), block.text("embed")
        if embed is not None and ":" not in embed:
            block.fault("embed", f'{embed!r} names no embeddings; write "provider:model" or "./file.py:function"')
        fields = block.texts("fields", ("$",))
        block.done()
        if dims is not None and embed is not None:
            index = StoreIndex(dims, embed, fields)
    if (block := section.section("ttl")) is not None:
        ttl = StoreTtl(
            default_ttl=block.number("default_ttl", above=0),
            refresh_on_read=block.flag("refresh_on_read", True),
            sweep_interval_minutes=block.number("sweep_interval_minutes", above=0),
        )
        block.done()
    path = spec(section, "path")
    section.done()
    return StoreSettings(index=index, ttl=ttl, path=path)


def read_thread_ttl(block: Section) -> ThreadTtlSettings:
    ttl = ThreadTtlSettings(
        strategy=block.one_of("strategy", ("delete", "keep_latest"), "delete"),
        default_ttl=block.number("default_ttl", above=0),
        sweep_interval_minutes=block.number("sweep_interval_minutes", above=0) or 5,
        sweep_limit=block.integer("sweep_limit", least=1) or 1000,
    )
    block.done()
    return ttl


def _modules(block: Section, key: str) -> tuple[tuple[str, ...], ...] | bool | None:
    value = block.raw_flag(key)
    if value is None or value is True:
        return value
    if not isinstance(value, list):
        block.fault(key, f"must be a list of paths, true or null, got {kind(value)}")
        return None
    paths = [item.split(".") if isinstance(item, str) else item for item in value]
    if not all(isinstance(path, list) and all(isinstance(part, str) for part in path) for path in paths):
        block.fault(key, 'each path must be a list of texts, as ["package", "module", "Class"]')
        return None
    return tuple(tuple(path) for path in paths)


def read_checkpointer(section: Section | None) -> CheckpointerSettings:
    if section is None:
        return CheckpointerSettings()
    ttl, serde = ThreadTtlSettings(), Serde()
    if (block := section.section("ttl")) is not None:
        ttl = read_thread_ttl(block)
    if (block := section.section("serde")) is not None:
        allowed = _modules(block, "allowed_msgpack_modules")  # null differs from an absent key: it means none
        serde = Serde(
            allowed_json_modules=_modules(block, "allowed_json_modules"),
            allowed_msgpack_modules=allowed if "allowed_msgpack_modules" in block.value else msgspec.UNSET,
            pickle_fallback=block.flag("pickle_fallback"),
        )
        block.done()
    _refuse_other_savers(section)
    section.done()
    return CheckpointerSettings(ttl=ttl, serde=serde)


def _refuse_other_savers(section: Section) -> None:
    """Reports a saver of the user's as a fault. Copies, history and runs are stored in one transaction, so checkpoints cannot be
    stored elsewhere.
    """
    why = "checkpoints are kept in the server's own storage, which copying and history rest on. Remove the key."
    for key in ("path", "uri"):
        if section.text(key) is not None:
            section.fault(key, why)
    if section.one_of("backend", ("default", "custom", "mongo"), "default") != "default":
        section.fault("backend", why)


def read_webhooks(section: Section | None, env: Mapping[str, str]) -> WebhookSettings:
    if section is None:
        return WebhookSettings()
    prefix = section.text("env_prefix") or "LG_WEBHOOK_"
    headers: dict[str, str] = {}
    for name, value in (section.mapping("headers") or {}).items():
        if isinstance(value, str):
            headers[name] = fill_in(value, f"{section.at('headers')}.{name}", prefix, env, section.findings)
        else:
            section.fault(f"headers.{name}", f"must be text, got {kind(value)}")
    rules = WebhookUrlRules(require_https=True)
    if (block := section.section("url")) is not None:
        rules = WebhookUrlRules(
            require_https=block.flag("require_https", True),
            allowed_domains=tuple(domain.lower() for domain in block.texts("allowed_domains")),
            allowed_ports=block.integers("allowed_ports"),
            max_url_length=block.integer("max_url_length", least=1),
            disable_loopback=block.flag("disable_loopback", True),
            disable_private_ips=block.flag("disable_private_ips", True),
        )
        block.done()
    section.done()
    return WebhookSettings(env_prefix=prefix, headers=headers, url=rules)


def fill_in(text: str, where: str, prefix: str, env: Mapping[str, str], findings: Findings) -> str:
    """Returns a text with its `${{ env.X }}` replaced. A variable that is not set or does not begin with the prefix is a
    fault.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not name.startswith(prefix):
            findings.fault(where, f"may only name variables that begin with {prefix}, not {name}")
        elif name not in env:
            findings.fault(where, f"names the variable {name}, which is not set")
        return env.get(name, "")

    return REFERENCE.sub(value, text)


def read_ui(top: Section) -> dict[str, str]:
    """Returns the bundles of `ui`: graph -> source file or folder."""
    bundles = {}
    for name, path in (top.mapping("ui") or {}).items():
        if not isinstance(path, str) or not path.strip():
            top.fault(
                f"ui.{name}", f"must be the path of a source file or of a folder with a ready bundle, got {kind(path)}"
            )
        elif not name or "/" in name:
            top.fault("ui", f"{name!r} cannot be a part of a URL's path: a name without slashes is needed")
        else:
            bundles[name] = path
    return bundles


def read_ui_config(section: Section | None) -> UiSettings:
    if section is None:
        return UiSettings()
    read = UiSettings(section.texts("shared"))
    section.done()
    return read


def read_auth(section: Section | None) -> AuthSettings | None:
    if section is None:
        return None
    if not section.has("path"):
        section.fault("path", f"is missing; {FORMS}")
    path = spec(section, "path")
    auth = AuthSettings(
        path=path or "",
        disable_studio_auth=section.flag("disable_studio_auth"),
        openapi=section.mapping("openapi") or {},
        cache=_auth_cache(section.section("cache")),
        default=section.one_of("default", ("allow", "deny"), "allow"),
    )
    section.done()
    return auth


def _auth_cache(section: Section | None) -> AuthCache | None:
    if section is None:
        return None
    keys = section.texts("cache_keys")
    if not keys:
        section.fault("cache_keys", "must name the headers that tell users apart")
    default = AuthCache(cache_keys=())
    cache = AuthCache(
        cache_keys=keys,
        ttl_seconds=section.number("ttl_seconds", above=0) or default.ttl_seconds,
        max_size=section.integer("max_size", least=1) or default.max_size,
    )
    section.done()
    return cache


def read_encryption(section: Section | None) -> EncryptionSettings | None:
    if section is None:
        return None
    if not section.has("path"):
        section.fault("path", f"is missing; {FORMS}")
    path = spec(section, "path")
    section.done()
    return EncryptionSettings(path or "")
