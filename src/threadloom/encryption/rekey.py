"""Changing keys: everything stored is sealed anew with the key of now, whatever it was sealed with, or not at all.

Page by page, each in a transaction of its own. Whoever is cut off in between leaves a mixture that a server with both keys
reads, and begins again: what is done already is passed over.
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
"""Rows of a column that are sealed anew in one transaction."""


async def rekey(storage: Storage, keys: Keys, progress: Callable[[float], None]) -> int:
    """Seals everything with `keys.key`; without one, leaves in clear what `keys.old` had sealed. Gives how many places changed.

    That the old key is in use is noted at the database before anything changes, and struck out when all is done.

    Args:
        storage: as it is, without a cipher around it.

    Raises:
        ConfigError: the data are sealed with a key that is not given. Nothing was changed.
        UndecipherableError: something cannot be opened. What was done until then stands.
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
    """Work that seals one page of a column; gives the last key of the page and how many changed, None past the end."""

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
    """The same content, sealed with the key of now; None when it is already."""
    cipher = _RecordingCipher(keys)
    again = columns.sealed(cipher, column, columns.opened(cipher, column, stored))
    if not cipher.saw_other and again.type == stored.type and _alike(column, again, stored):
        return None
    return again


class _RecordingCipher(AesCipher):
    """Notes whether something was opened with another key than the one of now."""

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys.key, () if keys.old is None else (keys.old,), keys.json_keys)
        self._current = None if keys.key is None else keys.key.id
        self.saw_other = False

    def open(self, at: Location, sealed: bytes, about: bytes) -> bytes:
        self.saw_other = self.saw_other or sealed[1:5] != self._current
        return super().open(at, sealed, about)


def _alike(column: Column, one: Stored, other: Stored) -> bool:
    """Whether the same parts of both are sealed."""
    if column in columns.BLOBS:
        return True  # their types tell, and those were compared
    if column == "crons.last_error":
        return _same(one.data.decode(), other.data.decode(), '"' + PREFIX)
    return _same(from_json(one.data), from_json(other.data), PREFIX)


def _same(one: Any, other: Any, prefix: str) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key], prefix) for key in one)
    if isinstance(one, str) and isinstance(other, str):
        return one.startswith(prefix) == other.startswith(prefix)
    return type(one) is type(other)
