"""The body of a stored checkpoint: all of it but its large values and what other columns of its row have."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.base import SerializerProtocol

from threadloom.storage.lineage import CheckpointRow

DIGITS = 10
"""Digits of the growing number of a version."""


def dumps_body(
    serde: SerializerProtocol, checkpoint: Mapping[str, Any], inline: Mapping[str, Any]
) -> tuple[str, bytes]:
    """Returns type and bytes of the body of a checkpoint.

    Args:
        inline: the channel values that are part of it.
    """
    body = {**checkpoint, "channel_values": inline}
    del body["id"]
    if not inline:
        del body["channel_values"]
    return serde.dumps_typed(body)


def loads_body(loads: Callable[[tuple[str, bytes]], Any], row: CheckpointRow) -> Checkpoint:
    """Returns the checkpoint of a row, without its large values."""
    body: Checkpoint = loads((row.body_type, row.body))
    body["id"] = row.checkpoint_id
    body.setdefault("channel_values", {})
    return body


def next_version(current: str | float | None) -> str:
    """Returns the version that follows another one: a growing number, and a random part that distinguishes branches.

    Versions of a thread compare as texts, so the number has as many digits as the one before (in an imported thread, 32).
    """
    number = "" if current is None else str(current).partition(".")[0]
    return f"{int(number or 0) + 1:0{max(len(number), DIGITS)}}.{random.getrandbits(40):010x}"
