"""Histories of threads: the protocol that every storage implements, and the operations that are the same on all of them."""

from threadloom.storage.lineage.protocol import (
    Blob,
    CheckpointPut,
    CheckpointRow,
    FormerHead,
    Lineage,
    Moved,
    PendingWrite,
    Tag,
    WritesPut,
    builds_on_others,
    with_bases,
)

__all__ = [
    "Blob",
    "CheckpointPut",
    "CheckpointRow",
    "FormerHead",
    "Lineage",
    "Moved",
    "PendingWrite",
    "Tag",
    "WritesPut",
    "builds_on_others",
    "with_bases",
]
