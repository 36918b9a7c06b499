"""Reads the block `threadloom`: settings that no other server of this API has."""

import base64
import re
from collections.abc import Mapping

from threadloom.config.blocks import fill_in
from threadloom.config.sections import Section
from threadloom.config.settings import LimitSettings, RetentionSettings, ThreadloomAuthSettings, ThreadloomSettings

LEAST_BYTES = 64 * 1024
"""Minimum size of a buffer of events, in bytes."""

HOST = re.compile(r"\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f]*:[0-9a-f:.]*")
"""A name, `*.name`, `*`, or an address; without scheme and port."""

ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\s*]+")
"""A scheme, a host and an optional port, as browsers send them; no path. `null` is a page without an origin, `*` is any
origin.
"""


def read_threadloom_block(section: Section | None, env: Mapping[str, str]) -> ThreadloomSettings:
    if section is None:
        return ThreadloomSettings()
    drain = section.integer("drain_seconds")
    studio = section.flag("studio", True)
    own = ThreadloomSettings(
        checkpoint_thread_id=section.flag("checkpoint_thread_id", True),
        end_event=section.flag("end_event"),
        isolate_forks=section.flag("isolate_forks"),
        webhook_secrets=_secrets(section, env),
        webhook_tries=section.integer("webhook_tries", least=1) or ThreadloomSettings().webhook_tries,
        synchronous=section.one_of("synchronous", ("normal", "full"), "normal"),
        retention=_retention(section.section("retention")),
        limits=_limits(section.section("limits")),
        allowed_hosts=_hosts(section, "allowed_hosts"),
        allowed_origins=_origins(section, "allowed_origins"),
        lease_seconds=section.number("lease_seconds", above=1) or ThreadloomSettings().lease_seconds,
        drain_seconds=ThreadloomSettings().drain_seconds if drain is None else drain,
        keep_alive_seconds=section.integer("keep_alive_seconds", least=1) or ThreadloomSettings().keep_alive_seconds,
        auth=_auth(section.section("auth")),
        studio=studio if section.has("studio") else None,
    )
    section.done()
    return own


def _auth(section: Section | None) -> ThreadloomAuthSettings:
    if section is None:
        return ThreadloomAuthSettings()
    read = ThreadloomAuthSettings(section.one_of("implicit_threads", ("create", "run"), "create"))
    section.done()
    return read


def _retention(section: Section | None) -> RetentionSettings:
    if section is None:
        return RetentionSettings()
    read = RetentionSettings(
        runs_days=section.number("runs_days", above=0),
        events_minutes=section.number("events_minutes", above=0),
        logs_days=section.integer("logs_days", least=1),
        deliveries_days=section.number("deliveries_days", above=0) or RetentionSettings().deliveries_days,
    )
    section.done()
    return read


def _limits(section: Section | None) -> LimitSettings:
    if section is None:
        return LimitSettings()
    read = LimitSettings(
        runs_per_user=section.integer("runs_per_user", least=1),
        streams_per_user=section.integer("streams_per_user", least=1),
        reader_bytes=section.integer("reader_bytes", least=LEAST_BYTES) or LimitSettings().reader_bytes,
        replay_bytes=section.integer("replay_bytes", least=LEAST_BYTES) or LimitSettings().replay_bytes,
    )
    section.done()
    return read


def _secrets(section: Section, env: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the secrets of `webhook_secret`: one, or a list while a new secret replaces an old one."""
    value = section.raw("webhook_secret")
    secrets = value if isinstance(value, list) else [] if value is None else [value]
    found: list[str] = []
    for secret in secrets:
        if not isinstance(secret, str) or not secret.strip():
            section.fault("webhook_secret", "must be a text that is not empty, or a list of such")
            continue
        filled = fill_in(secret, section.at("webhook_secret"), "", env, section.findings)
        if filled.startswith("whsec_") and not _is_base64(filled.removeprefix("whsec_")):
            section.fault("webhook_secret", "what follows whsec_ must be base64")
        found.append(filled)
    return tuple(found)


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


def _hosts(section: Section, key: str) -> tuple[str, ...]:
    hosts = tuple(host.lower().rstrip(".") for host in section.texts(key))
    for host in hosts:
        if not HOST.fullmatch(host):
            section.fault(
                key, f'{host!r} is no host; write a name without scheme, port and path, as "agents.example.com"'
            )
    return hosts


def _origins(section: Section, key: str) -> tuple[str, ...]:
    origins = tuple(origin.lower().rstrip("/") for origin in section.texts(key))
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            section.fault(
                key, f'{origin!r} is no origin; write scheme, host and maybe port, as "https://app.example.com"'
            )
    return origins
