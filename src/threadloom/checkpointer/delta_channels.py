"""Reads what LangGraph's delta channels are rebuilt from: the nearest stored value, and the writes since."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import DeltaChannelHistory
from langgraph.checkpoint.base import PendingWrite as GraphWrite

from threadloom.checkpointer.versions import value_of, write_of
from threadloom.storage.lineage import CheckpointRow


def delta_history(
    rows: Sequence[CheckpointRow], channels: Sequence[str], loads: Callable[[tuple[str, bytes]], Any]
) -> Mapping[str, DeltaChannelHistory]:
    """Returns for each channel the nearest value stored in an ancestor, and all writes since, oldest first.

    Args:
        rows: the ancestors, nearest first, as returned by `Lineage.path`.
        channels: the requested channels.
        loads: deserializes a value from its type and bytes.
    """
    newest_first: dict[str, list[GraphWrite]] = {channel: [] for channel in channels}
    seeds: dict[str, Any] = {}
    known: dict[int, bytes] = {}
    for row in rows:
        missing = newest_first.keys() - seeds.keys()
        for write in reversed(row.writes):
            if write.channel in missing:
                value = loads(write_of(write, row, known))
                newest_first[write.channel].append((write.task_id, write.channel, value))
        for channel in missing.intersection(row.refs):
            seeds[channel] = loads(value_of(row.refs[channel], row.blobs, known))
        if inline := missing.intersection(row.small):
            values = loads((row.body_type, row.body))["channel_values"]
            seeds.update((channel, values[channel]) for channel in inline)
    history: dict[str, DeltaChannelHistory] = {}
    for channel, found in newest_first.items():
        history[channel] = {"writes": found[::-1]}
        if channel in seeds:
            history[channel]["seed"] = seeds[channel]
    return history
