"""Reads `langgraph.json`, the environment and the command line into `Settings`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from threadloom.config.aes import check_aes
from threadloom.config.blocks import (
    FORMS,
    read_auth,
    read_checkpointer,
    read_encryption,
    read_graphs,
    read_http,
    read_store,
    read_thread_ttl,
    read_ui,
    read_ui_config,
    read_webhooks,
    spec,
    with_configs,
)
from threadloom.config.environment import BLOCKS, read_dotenv, read_variables
from threadloom.config.image import read_dependencies, read_image
from threadloom.config.sections import Findings, Section, kind
from threadloom.config.settings import Environment, Settings
from threadloom.config.threadloom_block import read_threadloom_block
from threadloom.errors import ConfigError

FILE_NAME = "langgraph.json"
DATA_FOLDER = ".threadloom"

PASSED_OVER = ("$schema",)
"""Keys that are known and have no effect here."""

GUARDS = ("auth", "encryption")
"""Blocks whose variables count even if there is a file without such a block. A user who sets one expects a protected server."""

POSTGRES = ("postgresql", "postgres")
REDIS = ("redis", "rediss", "unix")
"""Schemes of the addresses of services."""


def load(
    path: Path | None,
    env: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    *,
    env_file_required: bool = True,
) -> Settings:
    """Reads the whole configuration. See `read` for the arguments.

    Raises:
        ConfigError: the configuration has faults. The text lists each with file, key and cause.
    """
    settings, faults = read(path, env, overrides, env_file_required=env_file_required)
    if faults:
        raise ConfigError(report(name_of(settings), [*faults, *settings.warnings]))
    return settings


def read(
    path: Path | None,
    env: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    *,
    env_file_required: bool = True,
) -> tuple[Settings, list[str]]:
    """Reads the whole configuration, and returns it with its faults. If there are faults, use the settings only to look for more
    faults.

    Args:
        path: the configuration file. None: the JSON that images carry in environment variables (`LANGSERVE_GRAPHS`,
            `LANGGRAPH_HTTP` …), or, if `LANGSERVE_GRAPHS` is not set, `langgraph.json` in the working directory.
        env: the environment of the process.
        overrides: the values of the command line: `data` (a path), `jobs`, `base_url`, `studio`. None means not given.
        env_file_required: whether a missing env file is a fault. If not, it is a warning.

    Raises:
        ConfigError: the file cannot be read, or it is no JSON object.
    """
    findings = Findings()
    if path is None and env.get(BLOCKS["graphs"], "").strip():
        file, root = None, Path.cwd()
        document = _blobs(env, findings)
    else:
        file = (path or Path(FILE_NAME)).absolute()
        root = file.parent
        document = read_document(file)
    top = Section(document, "", findings)
    own_env = _read_env(top.raw("env"), root, findings, required=env_file_required)
    settings = _read(top, file, root, {**env, **own_env}, own_env, dict(overrides or {}))
    return settings, findings.faults


def name_of(settings: Settings) -> str:
    """Returns the name of a configuration for messages."""
    return str(settings.path) if settings.path else "the configuration in the environment"


def report(what: str, faults: list[str]) -> str:
    """Returns the text of an error: what cannot be used, and one line for each fault."""
    lines = "\n".join("  - " + fault.replace("\n", "\n    ") for fault in faults)
    return f"{what} cannot be used:\n{lines}"


def read_document(file: Path) -> dict[str, Any]:
    """Returns the JSON object of a configuration file.

    Raises:
        ConfigError: the file cannot be read, or it is no JSON object; the text says where.
    """
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file. `threadloom init` makes a small app to begin with.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: must hold a JSON object, got {kind(document)}")
    return document


def _json_variable(name: str, text: str, findings: Findings) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        findings.fault(name, f"is not valid JSON: {error}")
        return None
    if value is not None and not isinstance(value, dict):
        findings.fault(name, f"must hold a JSON object, got {kind(value)}")
        return None
    return value


def _blobs(env: Mapping[str, str], findings: Findings) -> dict[str, Any]:
    document: dict[str, Any] = {"dependencies": []}
    for key, name in BLOCKS.items():
        if env.get(name, "").strip() and (value := _json_variable(name, env[name], findings)) is not None:
            document[key] = value
    return document


def _read(
    top: Section,
    file: Path | None,
    root: Path,
    whole_env: Mapping[str, str],
    own_env: dict[str, str],
    overrides: dict[str, Any],
) -> Settings:
    document, findings = top.value, top.findings
    for key in GUARDS:
        text = whole_env.get(BLOCKS[key], "")
        if not top.has(key) and text.strip():
            document[key] = _json_variable(BLOCKS[key], text, findings)
    from_env = {
        name: value
        for name in ("CORS_CONFIG", "LANGGRAPH_THREAD_TTL", "LANGGRAPH_CONFIG")
        if whole_env.get(name, "").strip() and (value := _json_variable(name, whole_env[name], findings)) is not None
    }
    checkpointer = read_checkpointer(top.section("checkpointer"))
    if (ttl := from_env.get("LANGGRAPH_THREAD_TTL")) is not None:
        checkpointer = msgspec.structs.replace(
            checkpointer, ttl=read_thread_ttl(Section(ttl, "LANGGRAPH_THREAD_TTL", findings))
        )
    graphs = read_graphs(top)
    if (configs := from_env.get("LANGGRAPH_CONFIG")) is not None:
        graphs = with_configs(graphs, Section(configs, "LANGGRAPH_CONFIG", findings))
    variables = read_variables(whole_env, findings)
    if overrides.get("jobs") is not None:
        variables = msgspec.structs.replace(variables, n_jobs_per_worker=overrides["jobs"])
    if overrides.get("base_url") is not None:
        variables = msgspec.structs.replace(variables, langgraph_api_url=overrides["base_url"])
    if overrides.get("data") is not None:
        variables = msgspec.structs.replace(variables, database_uri=None)
    named = _check_services(variables, root, findings)
    data = overrides.get("data") or named or variables.threadloom_data
    own = read_threadloom_block(top.section("threadloom"), whole_env)
    if overrides.get("studio") is not None:
        own = msgspec.structs.replace(own, studio=overrides["studio"])
    dependencies, packages = read_dependencies(top, root)
    settings = Settings(
        root=root,
        path=file,
        graphs=graphs,
        dependencies=dependencies,
        env=own_env,
        env_file=document["env"] if isinstance(document.get("env"), str) else None,
        http=read_http(top.section("http"), whole_env, from_env, findings),
        store=read_store(top.section("store")),
        checkpointer=checkpointer,
        webhooks=read_webhooks(top.section("webhooks"), whole_env),
        auth=read_auth(top.section("auth")),
        encryption=read_encryption(top.section("encryption")),
        priority=_read_priority(top),
        ui=read_ui(top),
        ui_config=read_ui_config(top.section("ui_config")),
        threadloom=own,
        image=read_image(top, packages),
        vars=variables,
        data=Path(data).absolute() if data is not None else root / DATA_FOLDER,
        disable_persistence=top.flag("disable_persistence"),
    )
    check_aes(variables, findings)
    top.done(PASSED_OVER)
    _tell_idle(document, findings)
    return msgspec.structs.replace(settings, warnings=tuple(findings.warnings))


def _read_env(value: Any, root: Path, findings: Findings, *, required: bool) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        file = root / value
        if file.exists():
            return read_dotenv(file, findings)
        example = file.with_name(f"{file.name}.example")
        cure = f". Make it from the example: cp {example} {file}" if example.exists() else ""
        if required:
            findings.fault("env", f"there is no file {file}{cure}")
        else:
            findings.warn("env", f"there is no file {file}, so its variables are not set{cure}")
        return {}
    if not isinstance(value, dict):
        findings.fault("env", f"must be an object of variables or the path of an env file, got {kind(value)}")
        return {}
    variables: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, dict | list) or item is None:
            findings.fault(f"env.{name}", f"must be text, got {kind(item)}")
        elif not name or "=" in name or "\0" in f"{name}{item}":
            findings.fault(f"env.{name}", "is no name and value that an environment can hold")
        else:
            variables[name] = json.dumps(item) if isinstance(item, bool) else str(item)
    return variables


def _read_priority(top: Section) -> str | None:
    block = top.section("priority")
    if block is None:
        return None
    if not block.has("path"):
        block.fault("path", f"is missing; {FORMS}")
    path = spec(block, "path")
    block.done()
    return path


def _tell_idle(document: dict[str, Any], findings: Findings) -> None:
    """Warns about keys that have no effect because of other keys."""
    if document.get("auth") is None:
        http = document.get("http")
        for key in ("middleware_order", "enable_custom_route_auth"):
            if isinstance(http, dict) and http.get(key):
                findings.warn(f"http.{key}", "has no effect without auth")
        own = document.get("threadloom")
        if isinstance(own, dict) and own.get("auth"):
            findings.warn("threadloom.auth", "has no effect without auth")


def _check_services(variables: Environment, root: Path, findings: Findings) -> Path | None:
    """Checks the addresses of the database and of Redis. Returns the data folder if the address is a `sqlite:///` one."""
    data = None
    if variables.database_uri is not None:
        kind, _, place = variables.database_uri.partition("://")
        if kind == "sqlite" and place.startswith("/") and len(place) > 1:
            data = root / place.removeprefix("/")
        elif kind not in POSTGRES:
            findings.fault("DATABASE_URI", "must begin with postgresql:// or sqlite:///")
    if variables.redis_uri is not None:
        if variables.redis_uri.partition("://")[0] not in REDIS:
            findings.fault("REDIS_URI", "must begin with redis://, rediss:// or unix://")
        elif variables.database_uri is None or data is not None:
            findings.warn("REDIS_URI", "has no effect: one process on SQLite has nobody to tell")
    return data
