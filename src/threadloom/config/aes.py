"""Checks AES keys and the names of JSON keys to encrypt."""

from threadloom.config.sections import Findings
from threadloom.config.settings import Environment

BYTES = (16, 24, 32)

NEVER_SEALED = frozenset(
    {
        "assistant_id",
        "created_by",
        "cron_id",
        "graph_id",
        "langgraph_api_url",
        "langgraph_api_version",
        "langgraph_auth_permissions",
        "langgraph_auth_user_id",
        "langgraph_host",
        "langgraph_plan",
        "langgraph_request_id",
        "langgraph_version",
        "run_id",
        "thread_id",
    }
)
"""Keys of metadata that belong to the server, and that it searches by."""


def check_aes(variables: Environment, findings: Findings) -> None:
    """Reports AES keys of the wrong length, and JSON keys that cannot be encrypted, as faults."""
    keys = {
        "LANGGRAPH_AES_KEY": variables.langgraph_aes_key,
        "LANGGRAPH_AES_KEY_OLD": variables.langgraph_aes_key_old,
    }
    for name, key in keys.items():
        if key is not None and len(key.encode()) not in BYTES:
            findings.fault(name, f"must have 16, 24 or 32 bytes, has {len(key.encode())}")
    if variables.langgraph_aes_json_keys and variables.langgraph_aes_key is None:
        findings.fault("LANGGRAPH_AES_JSON_KEYS", "needs LANGGRAPH_AES_KEY")
    for name in variables.langgraph_aes_json_keys:
        if name in NEVER_SEALED:
            findings.fault("LANGGRAPH_AES_JSON_KEYS", f"{name!r} is the server's own and cannot be encrypted")
