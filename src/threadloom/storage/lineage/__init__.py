"""Histories of threads: the protocol that every storage implements, and the operations that are the same on all of them."""

from threadloom.storage.lineage.moves import FormerHead, Moved, Tag
from threadloom.storage.lineage.protocol import (
    Blob,
    CheckpointPut,
    CheckpointRow,
    Digests,
    Lineage,
    PendingWrite,
    Step,
    WritesPut,
    builds_on_others,
    root_checkpoints,
    with_bases,
)

__all__ = [
    "Blob",
    "CheckpointPut",
    "CheckpointRow",
    "Digests",
    "FormerHead",
    "Lineage",
    "Moved",
    "PendingWrite",
    "Step",
    "Tag",
    "WritesPut",
    "builds_on_others",
    "root_checkpoints",
    "with_bases",
]
