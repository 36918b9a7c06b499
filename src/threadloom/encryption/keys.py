"""Checks the keys at start. The database notes which key its content is encrypted with, so a wrong key is an error before any
read.
"""

from collections.abc import Sequence

import msgspec

from threadloom.config import Environment, Settings
from threadloom.encryption.aes import AesCipher, Key
from threadloom.errors import ConfigError
from threadloom.storage.base import Storage, Tx
from threadloom.storage.ciphertexts import Ciphertexts

CURRENT = "aes"
OLD = "aes.old"
HANDLERS = "handlers"
"""Names of the notes: the check values of the current key and of an older key that content may still be encrypted with; and
whether the user's handlers may have encrypted content.
"""


class Keys(msgspec.Struct, frozen=True):
    """The encryption settings.

    `key` is the current key, `old` the key of older content. `json_keys` are keys of metadata whose values are encrypted.
    `handlers` says whether the user's encryption handlers are configured.
    """

    key: Key | None = None
    old: Key | None = None
    json_keys: Sequence[str] = ()
    handlers: bool = False

    def cipher(self) -> AesCipher:
        """Returns the cipher with these keys. Without `key` it decrypts, but encrypts nothing."""
        return AesCipher(self.key, () if self.old is None else (self.old,), self.json_keys)


def keys_of(settings: Settings) -> Keys:
    """Returns the encryption settings. Raises as `keys_in`."""
    return keys_in(settings.vars, handlers=settings.encryption is not None)


def keys_in(variables: Environment, *, handlers: bool = False) -> Keys:
    """Returns the keys in the environment variables.

    Raises:
        MissingPackageError: a key is set, but the package `cryptography` is not installed.
    """

    def key(text: str | None) -> Key | None:
        return None if text is None else Key(text)

    return Keys(
        key=key(variables.langgraph_aes_key),
        old=key(variables.langgraph_aes_key_old),
        json_keys=variables.langgraph_aes_json_keys,
        handlers=handlers,
    )


async def check_keys(storage: Storage, keys: Keys) -> None:
    """Checks that all content can be decrypted, and notes what new content is encrypted with.

    Raises:
        ConfigError: a key (or the handlers) that content is encrypted with is not configured. Nothing was changed.
    """
    noted = await storage.read(lambda tx: notes(tx.ciphertexts))
    wanted = checked(noted, keys)
    if wanted == noted:
        return

    async def work(tx: Tx) -> None:
        for name, value in checked(await notes(tx.ciphertexts), keys).items():
            await tx.ciphertexts.set_note(name, value)

    await storage.write(work)


async def notes(ciphertexts: Ciphertexts) -> dict[str, str | None]:
    """Returns the database's notes of what its content is encrypted with, by the names above."""
    return {name: await ciphertexts.note(name) for name in (CURRENT, OLD, HANDLERS)}


def checked(noted: dict[str, str | None], keys: Keys) -> dict[str, str | None]:
    """Returns the new notes. Raises as `check_keys`."""
    given = {key.check_value() for key in (keys.key, keys.old) if key is not None}
    in_use = [value for value in (noted[CURRENT], noted[OLD]) if value is not None]
    if in_use and keys.key is None:
        raise ConfigError("LANGGRAPH_AES_KEY is not set, but the data are encrypted with such a key.")
    if not given.issuperset(in_use):
        if noted[CURRENT] in given:
            raise ConfigError(
                "LANGGRAPH_AES_KEY_OLD is not the key that some of the data are still encrypted with: give that one, "
                "until `threadloom db rekey` has replaced it everywhere."
            )
        raise ConfigError(
            "LANGGRAPH_AES_KEY is not the key that the data are encrypted with. If it is a new one, give the one before as "
            "LANGGRAPH_AES_KEY_OLD."
        )
    if noted[HANDLERS] and not keys.handlers:
        raise ConfigError("encryption.path is not configured, but data were encrypted by the handlers that it named.")
    current = None if keys.key is None else keys.key.check_value()
    old = [value for value in in_use if value != current]
    handlers = "in use" if keys.handlers else None
    return {CURRENT: current, OLD: old[0] if old else None, HANDLERS: handlers}
