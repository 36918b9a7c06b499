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


class Location(msgspec.Struct, frozen=True):
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

    def seal_blob(self, at: Location, type: str, data: bytes) -> tuple[str, bytes]:
        """Encrypts a part of a checkpoint. Returns its new type, which says that it is encrypted, and the ciphertext.

        Raises:
            UndecipherableError: it cannot be encrypted.
        """
        ...

    def open_blob(self, at: Location, type: str, data: bytes) -> tuple[str, bytes]:
        """Decrypts what `seal_blob` returned; returns the original type and data. Data that were never encrypted are
        returned as they are.

        Raises:
            UndecipherableError: it cannot be decrypted.
        """
        ...

    def seal_text(self, at: Location, text: bytes) -> bytes:
        """Encrypts a whole JSON text. The result is JSON too. Raises as `seal_blob`."""
        ...

    def open_text(self, at: Location, text: bytes) -> bytes:
        """Decrypts what `seal_text` returned. Raises as `open_blob`."""
        ...

    def seal_document(self, at: Location, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        """Encrypts a JSON object in which nothing is searched for. The keys in `clear` stay as they are. Raises as
        `seal_blob`.
        """
        ...

    def open_document(self, at: Location, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        """Decrypts what `seal_document` returned for the same `clear`. Raises as `open_blob`."""
        ...

    def seal_metadata(self, at: Location, document: Mapping[str, Any]) -> dict[str, Any]:
        """Encrypts of a record's metadata, in which searches look, as much as may be encrypted. Raises as
        `seal_blob`.
        """
        ...

    def open_metadata(self, at: Location, document: Mapping[str, Any]) -> dict[str, Any]:
        """Decrypts what `seal_metadata` returned. Raises as `open_blob`."""
        ...

    def seal_item(self, at: Location, value: bytes) -> bytes:
        """Encrypts the value of a store item, a JSON object. Raises as `seal_blob`."""
        ...

    def open_item(self, at: Location, value: bytes) -> bytes:
        """Decrypts what `seal_item` returned. Raises as `open_blob`."""
        ...

    def context(self) -> dict[str, Any] | None:
        """Returns what handlers are told at this moment, to be stored with work that goes on later; None without
        handlers.
        """
        ...

    def ready(self) -> None:
        """Makes sure that what was decrypted since the last call is final.

        Raises:
            Exception: an answer is still awaited. The caller waits for it and runs the transaction again.
        """
        ...

    def complete(self) -> None:
        """Makes sure that what was encrypted since the last call is final. Raises as `ready`."""
        ...
