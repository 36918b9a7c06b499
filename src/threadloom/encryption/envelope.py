"""Envelopes: encrypted messages that only one process can decrypt, though other processes may read the channel that carries them.

The receiver publishes a public key and keeps the private key in memory. So nothing that is stored anywhere can decrypt an
envelope. The algorithms are X25519, HKDF-SHA256 and AES-256-GCM; the sender's key is new for each envelope.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY = 32
"""Length of a public key in bytes."""

NONCE = 12

_PURPOSE = b"threadloom envelope"


class EnvelopeError(Exception):
    """The envelope is not for this process, or it was changed in transit."""


class Recipient:
    """Holds the private key that decrypts envelopes for one receiver. The key lives as long as the object.

    Attributes:
        public: the public key for senders, KEY bytes.
    """

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def open(self, envelope: bytes, about: bytes) -> bytes:
        """Returns the content of an envelope.

        Raises:
            EnvelopeError: the envelope was encrypted for another key, or with another `about`.
        """
        sender, nonce, body = envelope[:KEY], envelope[KEY : KEY + NONCE], envelope[KEY + NONCE :]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(sender))
            return _cipher(shared, sender, self.public).decrypt(nonce, body, about)
        except (InvalidTag, ValueError) as error:
            raise EnvelopeError("the envelope cannot be opened") from error


def seal(public: bytes, content: bytes, about: bytes) -> bytes:
    """Returns an envelope that only the owner of a public key can decrypt. The owner has to pass the same `about` to `open`.

    Raises:
        EnvelopeError: `public` is no public key.
    """
    private = X25519PrivateKey.generate()
    sender = private.public_key().public_bytes_raw()
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise EnvelopeError("it is no public key") from error
    nonce = os.urandom(NONCE)
    return b"".join((sender, nonce, _cipher(shared, sender, public).encrypt(nonce, content, about)))


def _cipher(shared: bytes, sender: bytes, addressee: bytes) -> AESGCM:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"".join((_PURPOSE, sender, addressee)))
    return AESGCM(derived.derive(shared))
