"""Changes keys: encrypts everything stored with the current key, whatever it was encrypted with, or decrypts it if there is no
current key.

It works page by page, each page in a transaction of its own. If it is interrupted, the database holds a mixture that a server
with both keys can read. The next start begins again and skips what is already done.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from threadloom.codec import from_json
from threadloom.encryption import columns
from threadloom.encryption.aes import PREFIX, AesCipher
from threadloom.encryption.cipher import Location
from threadloom.encryption.keys import CURRENT, OLD, Keys, check_keys
from threadloom.storage.base import Storage, Tx
from threadloom.storage.ciphertexts import COLUMNS, Column, Key, Stored

PAGE = 200
"""Rows of a column that are encrypted in one transaction."""


async def rekey(storage: Storage, keys: Keys, progress: Callable[[float], None]) -> int:
    """Encrypts everything with `keys.key`; without it, decrypts what `keys.old` encrypted. Returns how many values changed.

    Before anything changes, it notes in the database that the old key is in use. It removes the note when everything is done.

    Args:
        storage: the storage without a cipher.

    Raises:
        ConfigError: the data are encrypted with a key that is not configured. Nothing was changed.
        UndecipherableError: a value cannot be decrypted. The pages before it stay changed.
    """
    await check_keys(storage, keys if keys.key is not None else msgspec.structs.replace(keys, key=keys.old, old=None))
    changed = 0
    for number, column in enumerate(COLUMNS):
        progress(number / len(COLUMNS))
        after: Key | None = None
        while True:
            page = await storage.write(_page(column, after, keys), heavy=True)
            if page is None:
                break
            after, count = page
            changed += count
            progress(number / len(COLUMNS))

    async def note(tx: Tx) -> None:
        await tx.ciphertexts.set_note(CURRENT, None if keys.key is None else keys.key.check_value())
        await tx.ciphertexts.set_note(OLD, None)

    await storage.write(note)
    progress(1)
    return changed


def _page(column: Column, after: Key | None, keys: Keys) -> Any:
    """Returns work for a transaction that encrypts one page of a column. The work returns the page's last key and how many values
    changed, or None after the last page.
    """

    async def work(tx: Tx) -> tuple[Key, int] | None:
        found = await tx.ciphertexts.page(column, after, PAGE)
        if not found:
            return None
        count = 0
        for stored in found:
            again = _sealed_anew(column, stored, keys)
            if again is not None:
                await tx.ciphertexts.put(column, again)
                count += 1
        return found[-1].key, count

    return work


def _sealed_anew(column: Column, stored: Stored, keys: Keys) -> Stored | None:
    """Returns the same content, encrypted with the current key. None if it already is."""
    cipher = _RecordingCipher(keys)
    again = columns.sealed(cipher, column, columns.opened(cipher, column, stored))
    if not cipher.saw_other and again.type == stored.type and _alike(column, again, stored):
        return None
    return again


class _RecordingCipher(AesCipher):
    """Records whether something was decrypted with a key other than the current one."""

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys.key, () if keys.old is None else (keys.old,), keys.json_keys)
        self._current = None if keys.key is None else keys.key.id
        self.saw_other = False

    def open(self, at: Location, sealed: bytes, about: bytes) -> bytes:
        self.saw_other = self.saw_other or sealed[1:5] != self._current
        return super().open(at, sealed, about)


def _alike(column: Column, one: Stored, other: Stored) -> bool:
    """Returns whether the same parts of both values are encrypted."""
    if column in columns.BLOBS:
        return True  # the types show it, and the caller compared them
    if column == "crons.last_error":
        return _same(one.data.decode(), other.data.decode(), '"' + PREFIX)
    return _same(from_json(one.data), from_json(other.data), PREFIX)


def _same(one: Any, other: Any, prefix: str) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], prefix) for key in one)
    if isinstance(one, str) and isinstance(other, str):
        return one.startswith(prefix) == other.startswith(prefix)
    return type(one) is type(other)
