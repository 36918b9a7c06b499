"""Keys at start: the database knows which key its content is sealed with, so a wrong one is told before anything is read."""

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
"""Names of the notes: check values of the key that is sealed with and of one that older content may still be sealed with;
whether content may be sealed by the user's handlers."""


class Keys(msgspec.Struct, frozen=True):
    """What the settings say of encryption.

    `key` is what is sealed with, `old` what older content is sealed with, `json_keys` keys of metadata whose values are
    sealed; `handlers` whether the user's own handlers are configured.
    """

    key: Key | None = None
    old: Key | None = None
    json_keys: Sequence[str] = ()
    handlers: bool = False

    def cipher(self) -> AesCipher:
        """The cipher of these keys. Without `key` it opens, and seals nothing."""
        return AesCipher(self.key, () if self.old is None else (self.old,), self.json_keys)


def keys_of(settings: Settings) -> Keys:
    """What the settings say of encryption. Raises as `keys_in`."""
    return keys_in(settings.vars, handlers=settings.encryption is not None)


def keys_in(variables: Environment, *, handlers: bool = False) -> Keys:
    """The keys that environment variables give.

    Raises:
        MissingPackageError: a key is set, but the package `cryptography` is not there.
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
    """Makes sure that all content can be opened, and notes what it is sealed with from now on.

    Raises:
        ConfigError: a key (or the handlers) that content is sealed with is not given. Nothing was changed.
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
    """What the database says that its content is sealed with, by the names above."""
    return {name: await ciphertexts.note(name) for name in (CURRENT, OLD, HANDLERS)}


def checked(noted: dict[str, str | None], keys: Keys) -> dict[str, str | None]:
    """The notes that are to stand from now on. Raises as `check_keys`."""
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
