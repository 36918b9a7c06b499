"""The environment variables: names, defaults, meaning; and dotenv files."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from threadloom.config.sections import Findings
from threadloom.config.settings import Environment

Kind = Literal["text", "secret", "integer", "number", "flag", "list"]


class Variable(msgspec.Struct, frozen=True):
    """An environment variable: the type of its text, its minimum, and other names (the first one that is set counts).

    A `secret` is used exactly as it is, including spaces, and never appears in a message.
    """

    kind: Kind
    least: float = 0
    names: tuple[str, ...] = ()


VARIABLES: dict[str, Variable] = {
    "DATABASE_URI": Variable("text", names=("POSTGRES_URI_CUSTOM", "DATABASE_URI", "POSTGRES_URI")),
    "REDIS_URI": Variable("text", names=("REDIS_URI_CUSTOM", "REDIS_URI")),
    "REDIS_KEY_PREFIX": Variable("text"),
    "REDIS_CLUSTER": Variable("flag"),
    "REDIS_MAX_CONNECTIONS": Variable("integer", 1),
    "REDIS_CONNECT_TIMEOUT": Variable("number"),
    "LANGGRAPH_POSTGRES_POOL_MAX_SIZE": Variable("integer", 8),
    "N_JOBS_PER_WORKER": Variable("integer"),
    "BG_JOB_TIMEOUT_SECS": Variable("number", 0.001),
    "BG_JOB_MAX_RETRIES": Variable("integer"),
    "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": Variable("number"),
    "BG_JOB_ISOLATED_LOOPS": Variable("flag"),
    "RESUMABLE_STREAM_TTL_SECONDS": Variable("number"),
    "LSD_PROTOCOL_V2_BUFFER_SIZE": Variable("integer", 1),
    "LANGGRAPH_AES_KEY": Variable("secret"),
    "LANGGRAPH_AES_KEY_OLD": Variable("secret"),
    "LANGGRAPH_AES_JSON_KEYS": Variable("list"),
    "HTTP_MAX_REQUEST_BODY_BYTES": Variable("integer", 1),
    "MAX_STREAM_CHUNK_SIZE_BYTES": Variable("integer", 1),
    "CRON_SCHEDULER_SLEEP_TIME": Variable("number", 0.01),
    "FF_CRONS_ENABLED": Variable("flag"),
    "LOG_LEVEL": Variable("text"),
    "LOG_JSON": Variable("flag"),
    "LOG_COLOR": Variable("flag"),
    "LANGSMITH_TRACING": Variable("flag"),
    "LANGSMITH_API_KEY": Variable("text"),
    "LANGSMITH_ENDPOINT": Variable("text"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": Variable("text"),
    "METRIC_PREFIX": Variable("text"),
    "LANGGRAPH_API_URL": Variable("text"),
    "PORT": Variable("integer"),
    "LANGGRAPH_SERVER_HOST": Variable("text"),
    "THREADLOOM_DATA": Variable("text"),
    "THREADLOOM_STUDIO_AUTH": Variable("flag"),
}
"""One entry for each field of `Environment`."""

BLOCKS: dict[str, str] = {
    "graphs": "LANGSERVE_GRAPHS",
    "store": "LANGGRAPH_STORE",
    "auth": "LANGGRAPH_AUTH",
    "encryption": "LANGGRAPH_ENCRYPTION",
    "priority": "LANGGRAPH_PRIORITY",
    "http": "LANGGRAPH_HTTP",
    "webhooks": "LANGGRAPH_WEBHOOKS",
    "checkpointer": "LANGGRAPH_CHECKPOINTER",
    "ui": "LANGGRAPH_UI",
    "ui_config": "LANGGRAPH_UI_CONFIG",
    "threadloom": "THREADLOOM_CONFIG",
}
"""Keys of `langgraph.json` -> the variables that hold the same JSON when there is no file (in images)."""

OVERRIDES = (
    "CORS_ALLOW_ORIGINS",
    "CORS_CONFIG",
    "MOUNT_PREFIX",
    "LANGGRAPH_MOUNT_PREFIX",
    "LANGGRAPH_THREAD_TTL",
    "LANGGRAPH_CONFIG",
)
"""Variables that override one key of `langgraph.json`, or add to it."""

LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")

YES = frozenset({"1", "true", "yes", "on", "t", "y"})
NO = frozenset({"0", "false", "no", "off", "f", "n"})


def read_variables(env: Mapping[str, str], findings: Findings) -> Environment:
    """Reads the variables. An empty text counts as not set. Invalid texts are reported as faults."""
    values: dict[str, Any] = {}
    for name, variable in VARIABLES.items():
        used = next((n for n in variable.names or (name,) if env.get(n, "").strip()), None)
        if used is not None:
            value = env[used] if variable.kind == "secret" else _read(env[used].strip(), variable, used, findings)
            if value is not None:
                values[name.lower()] = value
    level = values.get("log_level", "INFO").upper()
    if level not in LEVELS:
        findings.fault("LOG_LEVEL", f"must be one of {', '.join(LEVELS)}, got {level!r}")
    values["log_level"] = level
    prefix = values.get("metric_prefix", "")
    if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*|", prefix):
        findings.fault("METRIC_PREFIX", f"must be letters, digits and underscores, got {prefix!r}")
    if "port" in values and values["port"] > 65_535:
        findings.fault("PORT", f"must be at most 65535, got {values['port']}")
    return Environment(**values)


def _read(text: str, variable: Variable, name: str, findings: Findings) -> Any:
    match variable.kind:
        case "text":
            return text
        case "list":
            return tuple(item.strip() for item in text.split(",") if item.strip())
        case "flag":
            if text.lower() in YES or text.lower() in NO:
                return text.lower() in YES
            findings.fault(name, f"must be true or false, got {text!r}")
            return None
    try:
        value = int(text) if variable.kind == "integer" else float(text)
    except ValueError:
        wanted = "a whole number" if variable.kind == "integer" else "a number"
        findings.fault(name, f"must be {wanted}, got {text!r}")
        return None
    if not value >= variable.least or value == float("inf"):
        findings.fault(name, f"must be at least {variable.least:g}, got {text}")
        return None
    return value


def read_dotenv(path: Path, findings: Findings) -> dict[str, str]:
    """Reads the variables of a dotenv file (comments, quotes, `export`). A file that cannot be read is a fault."""
    from dotenv import dotenv_values  # imported here to keep other commands fast at start

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        findings.fault("env", f"cannot read {path}: {error}")
        return {}
    return {key: value or "" for key, value in dotenv_values(stream=io.StringIO(text)).items()}
