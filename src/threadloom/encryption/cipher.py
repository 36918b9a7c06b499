"""What it takes to seal: the protocol that AES and the user's handlers meet, and which keys of a document never are."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec

from threadloom.config.aes import NEVER_SEALED
from threadloom.errors import ApiError
from threadloom.storage.ciphertexts import Column, Key

SEALED = "__sealed__"
"""Key of a document under which all that is encrypted of it stands."""

CONTEXT = "__encryption_context__"
"""Key of a document that the user's handlers encrypted: what they were told then. Reserved, never shown."""

SYSTEM = NEVER_SEALED | {
    "a2a_task_id",
    "checkpoint_id",
    "checkpoint_map",
    "checkpoint_ns",
    "__after_seconds__",
    "__request_start_time_ms__",
}
"""Keys that stay in clear in metadata and configurable: ours, not the user's, and some are searched for."""

CHECKPOINT = SYSTEM | {
    "counters_since_delta_snapshot",
    "parents",
    "run_attempt",
    "source",
    "step",
    "threadloom_version",
}
"""The same for the metadata of checkpoints. (The counters tell a prune what to keep.)"""

NOTHING: frozenset[str] = frozenset()
"""For documents that are wholly the user's."""


class At(msgspec.Struct, frozen=True):
    """What is sealed or opened: as handlers and errors name it, and where it is stored, if it is."""

    model: str
    field: str
    column: Column | None = None
    key: Key = ()


class UndecipherableError(ApiError):
    """Something stored cannot be decrypted, or something to store cannot be encrypted. Names model and field."""

    status = 500


class Cipher(Protocol):
    """Seals and opens, within a transaction. What was never sealed is opened as it is.

    A cipher that has to wait for its answer gives something in its place. Nothing that was opened may be looked at before `ready`
    was called, nor anything be committed that was sealed before `complete` was; both raise if something stands in for an answer.
    """

    def seal_blob(self, at: At, type: str, data: bytes) -> tuple[str, bytes]:
        """A part of a checkpoint, of a type; the type tells that it is sealed."""
        ...

    def open_blob(self, at: At, type: str, data: bytes) -> tuple[str, bytes]: ...

    def seal_text(self, at: At, text: bytes) -> bytes:
        """A whole JSON text; what comes out is JSON too."""
        ...

    def open_text(self, at: At, text: bytes) -> bytes: ...

    def seal_document(self, at: At, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        """A document that nothing is searched for in, but for its keys in `clear`, which stay as they are."""
        ...

    def open_document(self, at: At, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]: ...

    def seal_metadata(self, at: At, document: Mapping[str, Any]) -> dict[str, Any]:
        """Metadata of a record, which searches look into: as much of it as may be sealed."""
        ...

    def open_metadata(self, at: At, document: Mapping[str, Any]) -> dict[str, Any]: ...

    def seal_item(self, at: At, value: bytes) -> bytes:
        """The value of an item, a JSON object."""
        ...

    def open_item(self, at: At, value: bytes) -> bytes: ...

    def told(self) -> dict[str, Any] | None:
        """What handlers are told now, to be kept with what goes on later; None when there are no handlers."""
        ...

    def ready(self) -> None:
        """Makes sure that what was opened is good."""
        ...

    def complete(self) -> None:
        """Makes sure that what was sealed is good too."""
        ...
