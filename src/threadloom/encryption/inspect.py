"""Checks whether encrypted content can be decrypted, without changing anything."""

from collections.abc import Callable

from threadloom.encryption import columns
from threadloom.encryption.cipher import UndecipherableError
from threadloom.encryption.keys import HANDLERS, Keys, checked, notes
from threadloom.encryption.rekey import PAGE
from threadloom.errors import ConfigError
from threadloom.storage.ciphertexts import COLUMNS, Ciphertexts, Column, Key


async def inspect(
    ciphertexts: Ciphertexts, keys: Keys, progress: Callable[[float], None]
) -> tuple[list[str], list[str]]:
    """Decrypts all content that was encrypted with a key, page by page.

    Args:
        ciphertexts: of a read transaction.
        keys: the keys that content may be encrypted with.
        progress: called with the fraction that is done.

    Returns:
        the errors: how many values of which column cannot be decrypted; and what was not checked, with the reason.
    """
    noted = await notes(ciphertexts)
    if not any(noted.values()):
        return [], []
    if noted[HANDLERS]:
        return [], ["what the handlers of encryption.path encrypted: only a server calls them"]
    try:
        checked(noted, keys)
    except ConfigError as error:
        return [], [f"encrypted content: {error}"]
    faults = []
    for number, column in enumerate(COLUMNS):
        progress(number / len(COLUMNS))
        if failed := await _undecipherable(ciphertexts, column, keys):
            faults.append(f"{failed} values of {column} cannot be decrypted")
    progress(1)
    return faults, []


async def _undecipherable(ciphertexts: Ciphertexts, column: Column, keys: Keys) -> int:
    cipher = keys.cipher()
    failed = 0
    after: Key | None = None
    while page := await ciphertexts.page(column, after, PAGE):
        for stored in page:
            try:
                columns.opened(cipher, column, stored)
            except UndecipherableError:
                failed += 1
        after = page[-1].key
    return failed
