"""The built-in cipher: AES-GCM with one key. It also decrypts what older keys and LangGraph's `EncryptedSerializer` encrypted.

A ciphertext is: one byte for the format (1), four bytes that identify the key, a nonce of twelve bytes, then the encrypted
content with its tag. In JSON it is the text `encrypted.aes:` + base64. Nonces are random, so a key is safe for about 2**32
ciphertexts by the most cautious estimate; `threadloom db rekey` changes keys.
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Collection, Mapping
from typing import Any

from threadloom.codec import from_json, to_json
from threadloom.encryption.cipher import SEALED, Location, UndecipherableError
from threadloom.errors import MissingPackageError

TAG = "+aes-gcm"
"""Suffix of the type of a checkpoint part that this cipher encrypted."""

EAX_TAG = "+aes"
"""Suffix of the type of a checkpoint part that LangGraph's `EncryptedSerializer` encrypted."""

PREFIX = "encrypted.aes:"
FORM = b"\x01"
NONCE = 12
HEAD = 1 + 4 + NONCE


class Key:
    """One AES key.

    Args:
        text: 16, 24 or 32 bytes of UTF-8.

    Raises:
        MissingPackageError: the package `cryptography` is not installed.
    """

    def __init__(self, text: str) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise MissingPackageError("LANGGRAPH_AES_KEY", "cryptography", "threadloom[encryption]") from None
        self.raw = text.encode()
        self.aead = AESGCM(self.raw)
        self.id = hmac.digest(self.raw, b"threadloom key id", hashlib.sha256)[:4]

    def check_value(self) -> str:
        """Returns the value by which a database recognizes the key. It reveals nothing of the key."""
        return hmac.digest(self.raw, b"threadloom key check", hashlib.sha256).hex()[:32]


class AesCipher:
    """Encrypts with one key; decrypts with that key and with older keys.

    Args:
        key: the key to encrypt with. None: nothing is encrypted (to switch encryption off).
        old: keys that older content may be encrypted with.
        json_keys: keys of metadata whose values are encrypted. All other metadata stay unencrypted, so that searches can use
            them.
    """

    def __init__(self, key: Key | None, old: Collection[Key] = (), json_keys: Collection[str] = ()) -> None:
        self._key = key
        self._keys = {one.id: one for one in (*old, *((key,) if key is not None else ()))}
        self._json_keys = frozenset(json_keys)

    # --- bytes ---

    def seal(self, data: bytes, about: bytes) -> bytes:
        """Encrypts bytes. `about` is authenticated, but not stored: `open` needs the same value."""
        assert self._key is not None
        nonce = os.urandom(NONCE)
        return b"".join((FORM, self._key.id, nonce, self._key.aead.encrypt(nonce, data, about)))

    def open(self, at: Location, sealed: bytes, about: bytes) -> bytes:
        """Decrypts what `seal` returned for the same `about`.

        Raises:
            UndecipherableError: no key fits, or the ciphertext was changed.
        """
        key = self._keys.get(sealed[1:5]) if sealed[:1] == FORM else None
        if key is None:
            raise _undecipherable(at, "it was encrypted with a key that is not given")
        from cryptography.exceptions import InvalidTag

        try:
            opened: bytes = key.aead.decrypt(sealed[5:HEAD], sealed[HEAD:], about)
        except (InvalidTag, ValueError):
            raise _undecipherable(at, "what is stored was changed") from None
        return opened

    def _open_eax(self, at: Location, sealed: bytes) -> bytes:
        """Decrypts a ciphertext of LangGraph's serializer: nonce and tag of 16 bytes each, then the encrypted content."""
        try:
            from Crypto.Cipher import AES
        except ImportError:
            raise _undecipherable(
                at, "it was written by LangGraph's own serializer, which needs the package `pycryptodome`"
            ) from None
        for key in self._keys.values():
            try:
                return bytes(
                    AES.new(key.raw, AES.MODE_EAX, nonce=sealed[:16]).decrypt_and_verify(sealed[32:], sealed[16:32])
                )
            except ValueError:
                continue
        raise _undecipherable(at, "it was encrypted with a key that is not given")

    # --- parts of checkpoints ---

    def seal_blob(self, at: Location, type: str, data: bytes) -> tuple[str, bytes]:
        if self._key is None:
            return type, data
        return type + TAG, self.seal(data, type.encode())

    def open_blob(self, at: Location, type: str, data: bytes) -> tuple[str, bytes]:
        if type.endswith(TAG):
            plain = type.removesuffix(TAG)
            return plain, self.open(at, data, plain.encode())
        if type.endswith(EAX_TAG):
            return type.removesuffix(EAX_TAG), self._open_eax(at, data)
        return type, data

    # --- JSON ---

    def seal_text(self, at: Location, text: bytes) -> bytes:
        return text if self._key is None else b'"' + self._text_of(text).encode() + b'"'

    def open_text(self, at: Location, text: bytes) -> bytes:
        return self._opened(at, text[1:-1].decode()) if text.startswith(b'"' + PREFIX.encode()) else text

    @property
    def seals_any_text(self) -> bool:
        return True

    def seal_document(self, at: Location, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        shown = {key: value for key, value in document.items() if key in clear}
        hidden = {key: value for key, value in document.items() if key not in clear}
        if self._key is None or not hidden:
            return {**shown, **hidden}
        return {**shown, SEALED: self._text_of(to_json(hidden))}

    def open_document(self, at: Location, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        opened = dict(document)
        sealed = opened.get(SEALED)
        if isinstance(sealed, str) and sealed.startswith(PREFIX):
            del opened[SEALED]
            opened |= from_json(self._opened(at, sealed))
        return opened

    def seal_metadata(self, at: Location, document: Mapping[str, Any]) -> dict[str, Any]:
        if self._key is None:
            return dict(document)
        # A plain text that looks like a ciphertext is encrypted too. Otherwise it would be taken for a ciphertext when it is
        # read.
        return {
            key: self._text_of(to_json(value)) if key in self._json_keys or _looks_sealed(value) else value
            for key, value in document.items()
        }

    def open_metadata(self, at: Location, document: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: from_json(self._opened(at, value)) if _looks_sealed(value) else value
            for key, value in document.items()
        }

    def seal_item(self, at: Location, value: bytes) -> bytes:
        return self.seal_text(at, value)

    def open_item(self, at: Location, value: bytes) -> bytes:
        return self.open_text(at, value)

    def context(self) -> dict[str, Any] | None:
        return None

    def ready(self) -> None:
        """Does nothing: this cipher never waits for a result."""

    complete = ready

    def _text_of(self, data: bytes) -> str:
        return PREFIX + base64.b64encode(self.seal(data, b"json")).decode()

    def _opened(self, at: Location, text: str) -> bytes:
        try:
            sealed = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise _undecipherable(at, "what is stored was changed") from None
        return self.open(at, sealed, b"json")


def _looks_sealed(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(PREFIX)


def _undecipherable(at: Location, why: str) -> UndecipherableError:
    return UndecipherableError(f"{at.model}.{at.field} cannot be decrypted: {why}")
