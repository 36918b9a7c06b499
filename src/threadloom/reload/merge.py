"""Decides which changed settings apply while the server runs, and which apply only after a restart."""

from typing import Any

import msgspec

from threadloom.config import Settings

AT_ONCE = frozenset(
    {"graphs", "dependencies", "env", "env_file", "http", "webhooks", "auth", "ui", "ui_config", "image", "warnings"}
)
"""Settings that a new generation is created from, and settings that a running server ignores."""

OWN_AT_ONCE = frozenset(
    {"checkpoint_thread_id", "end_event", "webhook_secrets", "webhook_tries", "allowed_hosts", "limits"}
)
"""The same, of the block `threadloom`."""

VARIABLES_AT_ONCE = frozenset(
    {"langgraph_api_url", "http_max_request_body_bytes", "metric_prefix", "threadloom_studio_auth"}
)
"""The same, of the environment variables."""


def merge(before: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """Returns the settings that can apply now, and the names of those that changed but apply only after a restart."""
    later: list[str] = []

    def merged(old: Any, new: Any, at_once: frozenset[str], named: Any) -> Any:
        kept = {}
        for field in old.__struct_fields__:
            value = getattr(old, field)
            if field not in at_once and value != getattr(new, field):
                kept[field] = value
                later.append(named(field))
        return msgspec.structs.replace(new, **kept)

    own = merged(before.threadloom, wanted.threadloom, OWN_AT_ONCE, lambda field: f"threadloom.{field}")
    variables = merged(before.vars, wanted.vars, VARIABLES_AT_ONCE, str.upper)
    wanted = msgspec.structs.replace(wanted, threadloom=own, vars=variables)
    return merged(before, wanted, AT_ONCE | {"threadloom", "vars"}, str), later
