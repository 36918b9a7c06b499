"""The body of a webhook notification about a run's end (docs/contract/runs.md#webhooks)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from threadloom.clock import iso
from threadloom.codec import Fragment, to_json
from threadloom.config.settings import CREDENTIALS
from threadloom.engine.finalize import FinalizedRun
from threadloom.services.records import run_record

HIDDEN = CREDENTIALS | {"langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions"}
"""Entries of a run's configuration about its caller that are not sent to receivers. In lower case."""


def payload(finalized: FinalizedRun, now: int) -> bytes:
    """Returns the body, a JSON object, without `webhook_sent_at` (see `sent`). `now` is used if the run has no stored end."""
    run = finalized.run
    values: Any = None
    interrupts: list[Any] = []
    if finalized.values_json is not None:
        values = Fragment(finalized.values_json)
        if run.temporary:
            # The response of `wait`: the values, together with entries that are fields of their own in this body.
            values = msgspec.json.decode(finalized.values_json)
            if isinstance(values, dict):
                interrupts = values.pop("__interrupt__", [])
                values.pop("__error__", None)
    if finalized.interrupts_json is not None:
        asked = msgspec.json.decode(finalized.interrupts_json)
        interrupts = [interrupt for interrupts_of_task in asked.values() for interrupt in interrupts_of_task]
    body = run_record(run).fields() | {
        "status": finalized.status,
        "kwargs": _public(run.shown_kwargs),
        "run_started_at": iso(run.started_at or run.created_at),
        "run_ended_at": iso(run.ended_at or now),
        "values": values,
    }
    if interrupts:
        body["interrupts"] = interrupts
    if finalized.error is not None:
        body["error"] = finalized.error
    return to_json(body)


def sent(body: bytes, now: int) -> bytes:
    """Returns the body as it is sent now."""
    return b'%b,"webhook_sent_at":"%b"}' % (body[:-1], iso(now).encode())


def _public(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the kwargs of the run without what the server knows of its caller."""
    config = kwargs.get("config") or {}
    shown = kwargs | {"config": config | {"configurable": _without_caller(config.get("configurable") or {})}}
    if isinstance(context := kwargs.get("context"), Mapping):
        shown["context"] = _without_caller(context)
    return shown


def _without_caller(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if str(key).lower() not in HIDDEN}
