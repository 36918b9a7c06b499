"""Reading the block `threadloom`: what no other server of this API has."""

import re
from collections.abc import Mapping

from threadloom.config.blocks import fill_in
from threadloom.config.sections import Section
from threadloom.config.settings import OwnSettings, RetentionSettings

HOST = re.compile(r"\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f]*:[0-9a-f:.]*")
"""A name, `*.name`, `*`, or an address; no scheme and no port."""


def read_own(section: Section | None, env: Mapping[str, str]) -> OwnSettings:
    if section is None:
        return OwnSettings()
    secret = section.text("webhook_secret")
    own = OwnSettings(
        checkpoint_thread_id=section.flag("checkpoint_thread_id", True),
        webhook_secret=secret and fill_in(secret, section.at("webhook_secret"), "", env, section.findings),
        synchronous=section.one_of("synchronous", ("normal", "full"), "normal"),
        retention=_retention(section.section("retention")),
        allowed_hosts=_hosts(section, "allowed_hosts"),
    )
    section.done()
    return own


def _retention(section: Section | None) -> RetentionSettings:
    if section is None:
        return RetentionSettings()
    read = RetentionSettings(
        runs_days=section.number("runs_days", above=0),
        events_minutes=section.number("events_minutes", above=0),
        logs_days=section.integer("logs_days", least=1),
    )
    section.done()
    return read


def _hosts(section: Section, key: str) -> tuple[str, ...]:
    hosts = tuple(host.lower().rstrip(".") for host in section.texts(key))
    for host in hosts:
        if not HOST.fullmatch(host):
            section.fault(
                key, f'{host!r} is no host; write a name without scheme, port and path, as "agents.example.com"'
            )
    return hosts
