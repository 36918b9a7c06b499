"""The protocol that both ciphers implement (AES, and the user's handlers), and the keys of documents that are never encrypted."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec

from threadloom.config.aes import NEVER_SEALED
from threadloom.errors import ApiError
from threadloom.storage.ciphertexts import Column, Key

SEALED = "__sealed__"
"""Key of a document that holds all encrypted content of the document."""

CONTEXT = "__encryption_context__"
"""Key of a document that the user's handlers encrypted. It holds the encryption context of that call. Reserved; never shown to
clients.
"""

SYSTEM = NEVER_SEALED | {
    "a2a_task_id",
    "checkpoint_id",
    "checkpoint_map",
    "checkpoint_ns",
    "__after_seconds__",
    "__request_start_time_ms__",
}
"""Keys that stay unencrypted in metadata and configurable: they belong to the server, not to the user, and searches use some of
them.
"""

CHECKPOINT = SYSTEM | {
    "counters_since_delta_snapshot",
    "parents",
    "run_attempt",
    "source",
    "step",
    "threadloom_version",
}
"""The same for the metadata of checkpoints. (A prune decides by the counters which checkpoints to keep.)"""

NOTHING: frozenset[str] = frozenset()
"""For documents that belong wholly to the user: no key stays unencrypted."""


class Location(msgspec.Struct, frozen=True):
    """Identifies a value to encrypt or decrypt: its model and field, as handlers and errors name them, and its stored place, if
    it is stored.
    """

    model: str
    field: str
    column: Column | None = None
    key: Key = ()


class UndecipherableError(ApiError):
    """A stored value cannot be decrypted, or a value to store cannot be encrypted. The text names model and field."""

    status = 500


class Cipher(Protocol):
    """Encrypts and decrypts within a transaction. A value that was never encrypted is returned as it is.

    A cipher that has to wait for a result returns a placeholder. The caller must call `ready` before it uses decrypted values,
    and `complete` before it commits encrypted values. Both raise while a placeholder is in use.
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

    @property
    def seals_any_text(self) -> bool:
        """Whether `seal_text` encrypts, if anything is encrypted, all bytes that it is given. If not, it encrypts only JSON
        objects.
        """
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
        """Encrypts as much of a record's metadata as may be encrypted: searches read metadata. Raises as
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
        """Returns the current encryption context, to be stored with work that continues later. None without
        handlers.
        """
        ...

    def ready(self) -> None:
        """Makes sure that all values that were decrypted since the last call are final.

        Raises:
            Exception: a result is still missing. The caller waits for it and runs the transaction again.
        """
        ...

    def complete(self) -> None:
        """Makes sure that all values that were encrypted since the last call are final. Raises as `ready`."""
        ...
