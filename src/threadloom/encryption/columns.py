"""Decrypts and encrypts the stored values of each column."""

from collections.abc import Callable, Sequence
from typing import Any

from threadloom.codec import from_json, to_json
from threadloom.encryption.cipher import CHECKPOINT, NOTHING, Cipher, Location
from threadloom.encryption.records import Sealer
from threadloom.storage.ciphertexts import Ciphertexts, Column, Key, Stored

Change = Callable[[Sealer, Location, Any], Any]
"""A function that changes the JSON value of a column."""


def _open_metadata(sealer: Sealer, at: Location, value: Any) -> Any:
    return sealer.cipher.open_metadata(at, value)


def _seal_metadata(sealer: Sealer, at: Location, value: Any) -> Any:
    return sealer.cipher.seal_metadata(at, value)


def _open_document(sealer: Sealer, at: Location, value: Any) -> Any:
    return sealer.cipher.open_document(at, value, NOTHING)


def _seal_document(sealer: Sealer, at: Location, value: Any) -> Any:
    return sealer.cipher.seal_document(at, value, NOTHING)


def _open_config(sealer: Sealer, at: Location, value: Any) -> Any:
    assert at.column is not None
    return sealer.opened_config(at.model, value, at.column, at.key)


def _seal_config(sealer: Sealer, at: Location, value: Any) -> Any:
    return sealer.config(at.model, value)


METADATA: tuple[Change, Change] = (_open_metadata, _seal_metadata)
DOCUMENT: tuple[Change, Change] = (_open_document, _seal_document)
CONFIG: tuple[Change, Change] = (_open_config, _seal_config)
CHECKPOINTS: tuple[Change, Change] = (
    lambda sealer, at, value: sealer.cipher.open_document(at, value, CHECKPOINT),
    lambda sealer, at, value: sealer.cipher.seal_document(at, value, CHECKPOINT),
)
KWARGS: tuple[Change, Change] = (
    lambda sealer, at, value: sealer.opened_kwargs(value, at.key),
    lambda sealer, at, value: sealer.kwargs(value),
)
PAYLOAD: tuple[Change, Change] = (
    lambda sealer, at, value: sealer.opened_payload(value, at.key),
    lambda sealer, at, value: sealer.payload(value),
)

JSON: dict[Column, tuple[str, str, tuple[Change, Change]]] = {
    "checkpoints.metadata": ("checkpoint", "metadata", CHECKPOINTS),
    "threads.metadata": ("thread", "metadata", METADATA),
    "threads.config": ("thread", "config", DOCUMENT),
    "threads.error": ("thread", "error", DOCUMENT),
    "former_heads.record": ("thread", "record", DOCUMENT),
    "runs.metadata": ("run", "metadata", METADATA),
    "runs.kwargs": ("run", "kwargs", KWARGS),
    "outcomes.error": ("run", "error", DOCUMENT),
    "outcomes.metadata": ("run", "metadata", METADATA),
    "assistants.config": ("assistant", "config", CONFIG),
    "assistants.context": ("assistant", "context", DOCUMENT),
    "assistants.metadata": ("assistant", "metadata", METADATA),
    "assistant_versions.config": ("assistant", "config", CONFIG),
    "assistant_versions.context": ("assistant", "context", DOCUMENT),
    "assistant_versions.metadata": ("assistant", "metadata", METADATA),
    "crons.payload": ("cron", "payload", PAYLOAD),
    "crons.metadata": ("cron", "metadata", METADATA),
    "crons.user": ("cron", "user", DOCUMENT),
}
"""Column -> model, field, and the functions that decrypt and encrypt its JSON objects."""

TEXTS: dict[Column, tuple[str, str]] = {
    "checkpoints.digests": ("checkpoint", "digest"),
    "writes.digest": ("checkpoint", "digest"),
    "checkpoints.messages": ("checkpoint", "messages"),
    "states.values": ("thread", "values"),
    "states.interrupts": ("thread", "interrupts"),
    "outcomes.output": ("run", "output"),
    "events.data": ("run", "event"),
    "event_values.data": ("run", "event"),
    "deliveries.body": ("run", "delivery"),
}
BLOBS: dict[Column, tuple[str, str]] = {
    "checkpoints.body": ("checkpoint", "body"),
    "blobs.data": ("checkpoint", "blob"),
    "writes.data": ("checkpoint", "write"),
}
ITEM = ("store", "value")
WORDS = ("cron", "last_error")


def opened(cipher: Cipher, column: Column, stored: Stored) -> Stored:
    """Returns a stored value, decrypted."""
    if column in BLOBS:
        type_, data = cipher.open_blob(Location(*BLOBS[column], column, stored.key), stored.type, stored.data)
        return Stored(stored.key, type_, data)
    if column in TEXTS:
        data = cipher.open_text(Location(*TEXTS[column], column, stored.key), stored.data)
    elif column in JSON:
        model, field, (change, _) = JSON[column]
        data = to_json(change(Sealer(cipher), Location(model, field, column, stored.key), from_json(stored.data)))
    elif column == "items.value":
        data = cipher.open_item(Location(*ITEM, column, stored.key), stored.data)
    else:
        data = Sealer(cipher).opened_words(Location(*WORDS, column, stored.key), stored.data.decode()).encode()
    return Stored(stored.key, stored.type, data)


def sealed(cipher: Cipher, column: Column, plain: Stored) -> Stored:
    """Returns a decrypted value, encrypted again."""
    if column in BLOBS:
        type_, data = cipher.seal_blob(Location(*BLOBS[column]), plain.type, plain.data)
        return Stored(plain.key, type_, data)
    if column in TEXTS:
        data = cipher.seal_text(Location(*TEXTS[column]), plain.data)
    elif column in JSON:
        model, field, (_, change) = JSON[column]
        data = to_json(change(Sealer(cipher), Location(model, field, column, plain.key), from_json(plain.data)))
    elif column == "items.value":
        data = cipher.seal_item(Location(*ITEM), plain.data)
    else:
        data = (Sealer(cipher).words(*WORDS, plain.data.decode()) or "").encode()
    return Stored(plain.key, plain.type, data)


class SealedCiphertexts:
    """`storage.ciphertexts.Ciphertexts` for a second cipher around this one: it reads and writes the values as that cipher wrote
    them.
    """

    def __init__(self, inner: Ciphertexts, cipher: Cipher) -> None:
        self._inner = inner
        self._cipher = cipher

    async def get(self, column: Column, key: Key) -> Stored | None:
        found = await self._inner.get(column, key)
        return None if found is None else self._opened(column, [found])[0]

    async def put(self, column: Column, stored: Stored) -> None:
        again = sealed(self._cipher, column, stored)
        self._cipher.ready()
        await self._inner.put(column, again)

    async def page(self, column: Column, after: Key | None, limit: int) -> Sequence[Stored]:
        return self._opened(column, await self._inner.page(column, after, limit))

    async def note(self, name: str) -> str | None:
        return await self._inner.note(name)

    async def set_note(self, name: str, value: str | None) -> None:
        await self._inner.set_note(name, value)

    def _opened(self, column: Column, found: Sequence[Stored]) -> list[Stored]:
        made = [opened(self._cipher, column, stored) for stored in found]
        self._cipher.ready()
        return made
